"""What a frozen program leaves out of the converter, which comes along with t5g: packages that few programs need."""

excludedimports = ["gguf", "sentencepiece", "tqdm"]
