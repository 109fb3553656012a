"""Special tokens of Llama 3.0 to 3.3 (one tokenizer for all) and the few of Llama 4 that a decoder meets.

Source: Meta's prompt-format documents and llama-models' `tokenizer.py`.
"""

from __future__ import annotations

BEGIN_OF_TEXT = "<|begin_of_text|>"
END_OF_TEXT = "<|end_of_text|>"
START_HEADER = "<|start_header_id|>"
END_HEADER = "<|end_header_id|>"
EOM = "<|eom_id|>"
"""The model waits for a tool's result within the same turn."""
EOT = "<|eot_id|>"
"""The turn is over."""
PYTHON_TAG = "<|python_tag|>"
IMAGE = "<|image|>"

FIRST_SPECIAL_ID = 128_000
VOCABULARY_SIZE = 128_256

_NAMED = {
    BEGIN_OF_TEXT: 128_000,
    END_OF_TEXT: 128_001,
    "<|reserved_special_token_0|>": 128_002,
    "<|reserved_special_token_1|>": 128_003,
    "<|finetune_right_pad_id|>": 128_004,
    "<|step_id|>": 128_005,
    START_HEADER: 128_006,
    END_HEADER: 128_007,
    EOM: 128_008,
    EOT: 128_009,
    PYTHON_TAG: 128_010,
    IMAGE: 128_011,
}
SPECIAL_TOKENS: dict[str, int] = _NAMED | {
    f"<|reserved_special_token_{number}|>": 128_012 + number - 2 for number in range(2, 246)
}
"""Every special token's id. Vision models want `VISION_IMAGE_ID` in place of `<|image|>`'s own id."""

VISION_IMAGE_ID = 128_256

STOP_IDS = frozenset({128_001, 128_008, 128_009})
STOP_TOKENS = (END_OF_TEXT, EOM, EOT)

EOT_4 = "<|eot|>"
EOM_4 = "<|eom|>"
PYTHON_START = "<|python_start|>"
PYTHON_END = "<|python_end|>"
LLAMA4_TOKENS: dict[str, int] = {
    "<|header_start|>": 200_005,
    "<|header_end|>": 200_006,
    EOM_4: 200_007,
    EOT_4: 200_008,
    PYTHON_START: 200_016,
    PYTHON_END: 200_017,
}
"""Llama 4's tokens that frame messages and calls; its tokenizer is another one."""
