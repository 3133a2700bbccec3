"""Opens files with t5g's reader and looks at all of each, in a process that may not take much memory.

Usage: python open_gguf.py FILE LIMIT_MIB. FILE is an .npz of damaged files by name.
Prints a JSON object: name -> [error message or null, CPU seconds].
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from t5g import ModelFormatError, _core


def look_at_everything(path: Path) -> None:
    """Reads every key and every byte of every tensor that can be read."""
    file = _core.GgufFile(path)
    file.metadata()
    for tensor in file.tensors:
        repr(tensor)
        if tensor.supported:
            int(file.tensor_data(tensor.name).sum())


def limit_memory(limit_mib: int) -> None:
    """No more address space than this process has now, and a bit."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + (limit_mib << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main() -> None:
    """See above."""
    with np.load(sys.argv[1]) as archive:
        files = {name: archive[name].tobytes() for name in archive.files}
    results: dict[str, tuple[str | None, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "damaged.gguf")
        path.write_bytes(b"")
        if "libasan" not in Path("/proc/self/maps").read_text():  # which takes address space by the terabyte
            limit_memory(int(sys.argv[2]))
        for name, content in files.items():
            path.unlink()
            path.write_bytes(content)
            error = None
            begin = time.process_time()
            try:
                look_at_everything(path)
            except ModelFormatError as e:
                error = str(e)
            results[name] = (error, time.process_time() - begin)
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
