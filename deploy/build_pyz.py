"""Make build/tms-principals.pyz: one file that runs with nothing but python3; the same bytes every time."""

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULES = (  # what the helper imports, and nothing else of the host's programs
    *(f"keycmd/{name}.py" for name in ("__init__", "config", "lines", "quick", "service", "tls", "unverified")),
    *(f"principals_cmd/{name}.py" for name in ("__init__", "main")),
)
ENTRY = "principals_cmd/__main__.py"
SHEBANG = b"#!/usr/bin/python3 -I\n"
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip can name


def build(outdir: Path) -> Path:
    """Write the helper into `outdir`; return its path."""
    outdir.mkdir(parents=True, exist_ok=True)
    target = outdir / "tms-principals.pyz"
    temporary = target.with_suffix(".new")
    files = {"__main__.py": (ROOT / ENTRY).read_bytes()}
    files.update({name: (ROOT / name).read_bytes() for name in MODULES})
    with temporary.open("wb") as file:
        file.write(SHEBANG)
        with zipfile.ZipFile(file, "w") as archive:
            for name in sorted(files):
                entry = zipfile.ZipInfo(name, LONG_AGO)
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, files[name])
    temporary.chmod(0o755)
    temporary.replace(target)
    return target


if __name__ == "__main__":
    print(build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build"))
