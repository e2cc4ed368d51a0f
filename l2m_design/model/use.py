"""Use: how much attention a cached token will still receive, predicted from its key and value and corrected by what it
has received.

The mass that later chunks give a token falls with its age a (in chunks) as u · a^(-alpha), u and alpha predicted from
the key before rotation, the value and their log norms. What was received beside what was predicted corrects u as a
Gamma prior does. A slot's record is four float32 numbers: ln u, alpha, mass received, and the chunk of its birth.
"""

import torch
from torch import Tensor, nn

from l2m_design.architecture.schedules import RECORD
from l2m_design.model.rules import ALL, Rule

LN_U, ALPHA = 0, 1  # of a record
SLOWEST, FASTEST = 0.05, 3.0  # ageing exponents
LEAST, MOST = -20.0, 2.0  # ln of attention mass a query
LN_PRIOR = 2.0  # where nothing was fitted: corrected slowly


class Use(Rule):
    """The predicted use of the tokens of `heads` kv heads.

    weight [h 2 k+v+2] and bias [h 2] give ln u (mass a query, at age 1) and alpha; ln_prior [h]: the mass at which
    what was received counts as much as what was predicted; ln_worth [h]: nats a unit of the head's mass is worth.
    """

    width = RECORD

    def __init__(self, heads: int, key_dim: int, value_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(heads, 2, key_dim + value_dim + 2))
        self.bias = nn.Parameter(torch.tensor([-5.0, 1.0]).repeat(heads, 1))
        self.ln_prior = nn.Parameter(torch.full((heads,), LN_PRIOR))
        self.ln_worth = nn.Parameter(torch.zeros(heads))

    def of_heads(self, heads: list[int]) -> "Use":
        """The same rule for some of its heads alone."""
        _, _, features = self.weight.shape
        part = Use(len(heads), 0, features - 2)
        part.load_state_dict({name: value[heads] for name, value in self.state_dict().items()})
        return part

    def forward(self, key: Tensor, value: Tensor, heads: slice = ALL) -> tuple[Tensor, Tensor]:
        """ln u and alpha [b h t] of tokens' keys before rotation [b h t k] and values [b h t v], of these heads."""
        with torch.autocast(key.device.type, enabled=False):
            found = torch.einsum("bhtf,hzf->zbht", features(key, value), self.weight[heads].float())
        ln_u, alpha = found + self.bias[heads].float().T[:, None, :, None]
        return ln_u, alpha.clamp(SLOWEST, FASTEST)

    def stored(self, key: Tensor, value: Tensor, heads: slice) -> list[Tensor]:
        """ln u and alpha; a gradient reaches the prediction alone."""
        return list(self(key.detach(), value.detach(), heads))

    def predicted(self, records: Tensor, age: Tensor) -> Tensor:
        """[b h chunks n] ln of the loss that tokens of records [b h n 4] would avoid, at ages [chunks n] from 1 on in
        chunks, by what is predicted alone.
        """
        ln_u, alpha = records[..., LN_U][:, :, None], records[..., ALPHA][:, :, None]
        return ln_u - alpha * age.log() + self.ln_worth[:, None, None]

    @torch.no_grad()
    def scores(self, records: Tensor, heads: Tensor, current: int, chunk: int) -> Tensor:
        """[b n] of records [b n 4] of the kv heads [b n], as chunk number `current` begins: ln of the loss avoided."""
        ln_u, alpha, received, birth = records.unbind(-1)
        age = current - birth
        prior = self.ln_prior.exp()[heads]
        expected = chunk * ln_u.clamp(LEAST, MOST).exp() * power_sum(age - 1, alpha)
        corrected = ((prior + received) / (prior + expected)).log()
        return ln_u - alpha * age.log() + corrected + self.ln_worth[heads]


def features(key: Tensor, value: Tensor) -> Tensor:
    """[... k+v+2] keys, values and their log norms, in float32."""
    key, value = key.float(), value.float()
    norms = [z.norm(dim=-1, keepdim=True).clamp(min=1e-6).log() for z in (key, value)]
    return torch.cat([key, value, *norms], dim=-1)


def power_sum(n: Tensor, alpha: Tensor) -> Tensor:
    """1 + 2^-alpha + ... + n^-alpha within 1%, and 0 for n = 0 (Euler-Maclaurin from the second term on)."""
    slope = 1 - alpha
    slope = slope.masked_fill(slope.abs() < 1e-4, 1e-4)
    far, first = n.clamp(min=2.0), torch.exp2(slope)
    last = far**slope
    whole, ends = (last - first) / slope, (last / far - first / 2) / 2
    bend = (first / 4 - last / far.square()) * (alpha / 12)
    return (n >= 1) + (n >= 2) * (first / 2) + whole + ends + bend
