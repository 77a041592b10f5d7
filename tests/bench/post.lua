-- wrk -s post.lua URL -- FILE BLOCK KIND: POST the lines of FILE in turn, beginning anywhere in it.
--
-- KIND login: a line is the body without its end, a nonce. sshd asks about each login twice, the second time after the
-- first answer. wrk has BLOCK connections that ask at the same time: BLOCK lines are asked once each, then the same
-- lines again, then the next ones.

local bodies, block, login, n = {}, 1, false, 0

wrk.method = "POST"

function init(args)
  for line in io.lines(args[1]) do
    bodies[#bodies + 1] = line
  end
  block = tonumber(args[2])
  login = args[3] == "login"
  math.randomseed(os.time())
  n = math.random(0, math.floor(#bodies / block)) * block * 2 - 1 -- wrk takes one request for itself, to look at it
end

local function part()
  return math.random(0, 0x7fffffff)
end

function request()
  local which = n
  if login then
    local at = n % (2 * block)
    which = (n - at) / 2 + at % block
  end
  n = n + 1
  local body = bodies[which % #bodies + 1]
  if login then
    body = string.format('%s%08x%08x%08x%08x"}', body, part(), part(), part(), part())
  end
  return wrk.format(nil, nil, nil, body)
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\nRESULT {"requests": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f, "refused": %d, "failed": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    latency.max / 1e3, e.status, e.connect + e.read + e.write + e.timeout
  ))
end
