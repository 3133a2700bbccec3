"""Asks a model about images: python examples/describe_image.py MODEL.gguf IMAGE ... [-p TEXT].

Needs a T5Gemma 2 file with its image tower, and Pillow (pip install 't5g[vision]').
"""

from __future__ import annotations

import argparse
import sys

import t5g

# Pretrained models continue a text; one that was tuned on questions can be asked one.
DEFAULT_TEXT = "<start_of_image> in this image, there is"


def main() -> None:
    parser = argparse.ArgumentParser(description="Describe images, or answer a question about each.")
    parser.add_argument("model", metavar="MODEL.gguf")
    parser.add_argument("images", metavar="IMAGE", nargs="+")
    parser.add_argument("-p", "--prompt", default=DEFAULT_TEXT, help="<start_of_image> is the image's place")
    parser.add_argument("-n", "--max-new-tokens", type=int, default=60)
    arguments = parser.parse_args()

    with t5g.Model(arguments.model) as model:
        for path in arguments.images:
            # Read once; then the same encoded source serves both calls below.
            source = model.encode(arguments.prompt, images=path)
            print(f"{path}: ", end="", flush=True)
            for piece in model.stream(source, max_new_tokens=arguments.max_new_tokens):
                print(piece, end="", flush=True)
            print()
            others = model.generate(
                source, max_new_tokens=arguments.max_new_tokens, num_beams=3, num_return_sequences=3
            ).sequences
            for other in others:
                print(f"    {other.logprob:8.2f}  {other.text.strip()}")


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"error: {error.filename}: {error.strerror}" if error.strerror else f"error: {error}")
    except t5g.T5gError as error:
        sys.exit(f"error: {error}")
