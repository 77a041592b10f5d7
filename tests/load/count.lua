-- wrk: one body again and again; at the end, how many were asked and how many were answered with success.
function init(args)
  local file = assert(io.open(args[1]))
  wrk.method = "POST"
  wrk.body = file:read("*a")
  file:close()
end

function done(summary, latency)
  local lost = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format('RESULT {"seconds": %f, "answers": %d, "refused": %d, "lost": %d, "p99_ms": %f}\n',
    summary.duration / 1e6, summary.requests, summary.errors.status, lost, latency:percentile(99) / 1000))
end
