"""What an earlier version of transformers holds of a published model, where that is known to differ."""

from dataclasses import dataclass

from l2m_design.architecture.readers.config import Config
from l2m_design.architecture.readers.indexed import DeepseekV32
from l2m_design.architecture.readers.latent import DeepseekV2, DeepseekV3
from l2m_design.laws import StateLaw, StateTerm, Tokens


@dataclass(frozen=True)
class Earlier:
    """The state law in an earlier version, and what it caches instead of what, in words."""

    version: str
    state: StateLaw
    caches: str

    def sentence(self, now: StateLaw) -> str:
        """The elements of a token in both versions; now: the law of the version that is judged."""
        then, kept = self.state.elements(1), now.elements(1)
        return (
            f"transformers {self.version} caches {self.caches}: {then:,} elements per token instead of {kept:,}, "
            f"{then / kept:.3g} times as many."
        )


def earlier(config: Config, runtime: str) -> Earlier | None:
    """For DeepSeek-V2 and V3 in transformers 4.57 (measured with 4.57.3); None where no difference is known."""
    if runtime != "transformers" or not isinstance(config, DeepseekV2 | DeepseekV3) or isinstance(config, DeepseekV32):
        return None
    slot = config.num_attention_heads * (config.qk_nope_head_dim + config.qk_rope_head_dim + config.v_head_dim)
    state = StateLaw((StateTerm(config.depth * slot, Tokens(), kind="attention"),))
    return Earlier("4.57", state, "keys and values of all heads instead of the latent")
