"""The instruction sets for bfloat16, for tests that run with each one that this processor has."""

import pytest

from engine_ext import convnet

each_bf16_set = pytest.mark.parametrize(
    "instruction_set",
    [
        pytest.param(
            name,
            marks=pytest.mark.skipif(
                name not in convnet.bf16_instruction_sets(), reason=f"the processor has no {name}"
            ),
        )
        for name in convnet.BF16_SETS
    ],
)
