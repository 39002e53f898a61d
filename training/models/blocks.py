"""Side information of users or items in a Bayesian factorization: one link matrix a block (Simm et al. 2015)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Gamma

WIDEST = 256
"""Columns that are kept of a block too large to be written out."""


@dataclass
class Block:
    """Side information [n, K] as orthogonal columns U S of its SVD: a rotation that the prior of B does not see."""

    columns: Tensor
    """[n, r]."""
    power: Tensor
    """[r] squared singular values."""
    link: Tensor
    """B, [r, d]."""
    precision: float = 1.0
    """λ."""

    @classmethod
    def of(cls, features: Tensor, dimension: int) -> "Block":
        """`features` [n, K], dense. A column that is almost spanned by the others is dropped."""
        wide = features.shape[1] > features.shape[0]
        power, vectors = torch.linalg.eigh(features @ features.T if wide else features.T @ features)
        kept = power > 1e-6 * power[-1]
        power, vectors = power[kept], vectors[:, kept]
        columns = vectors * power.sqrt() if wide else features @ vectors
        return cls(columns.float(), power.float(), torch.zeros(len(power), dimension, device=features.device))

    @classmethod
    def of_sparse(cls, features: Tensor, dimension: int) -> "Block":
        """`features` [n, K], sparse: their largest singular vectors."""
        left, singular, _ = torch.svd_lowrank(features, min(WIDEST, *features.shape), niter=2)
        return cls(left * singular, singular.square(), torch.zeros(len(singular), dimension, device=features.device))

    def sample(self, rest: Tensor, root: Tensor) -> None:
        """Draws B and λ given what is left to explain, `rest` [n, d], and `root` [d, d] with root rootᵀ = Λ⁻¹."""
        precision = self.power + self.precision
        noise = torch.randn_like(self.link) @ root.T
        self.link = (self.columns.T @ rest) / precision[:, None] + noise / precision.sqrt()[:, None]
        whitened = torch.linalg.solve_triangular(root, self.link.T, upper=False)
        shape, rate = 1 + self.link.numel() / 2, 1 + float(whitened.square().sum()) / 2
        self.precision = gamma(shape, rate)

    @property
    def mean(self) -> Tensor:
        """[n, d]: what this block says of every vector."""
        return self.columns @ self.link


def gamma(shape: float, rate: float) -> float:
    """One draw."""
    return float(Gamma(torch.tensor(shape, dtype=torch.float64), torch.tensor(rate, dtype=torch.float64)).sample())
