"""FreqFusion: brings a coarse map to the size of a fine one and joins them, with filters made from both.

Chen, Fu, Gu, Yan, Harada and Huang, "Frequency-aware Feature Fusion for Dense Image Prediction", IEEE TPAMI 2024 (arXiv
2408.12879): an adaptive low-pass filter on the coarse map as it is brought up (ALPF generator of the paper), an adaptive
high-pass filter on the fine one (AHPF generator), and places to resample at by local similarity (offset generator, in
`lineside.export.modules.resample`). What reassembles is CARAFE (Wang et al., 2019, eq. 2). Names in the state dict are those of the published checkpoints.

Written ``|k`` below, a kernel is a softmax over the k * k taps of each pixel, times a Hamming window, divided by its
sum; and ``carafe(x, kernel, k, up)`` is `carafe`. With c = 1x1 convolutions and E1, E2 = 3x3 convolutions to the taps of
the low-pass and of the high-pass filter, the whole chain is::

    hr' = c(hr), lr' = c(lr)
    mh  = E2(hr')
    hr' = 2 hr' - carafe(hr', mh|3, 3, 1)                      sharpened
    ml  = E1(hr')
    ml  = ml + carafe(E1(lr'), ml|5, 5, 2)
    mh  = mh + carafe(E2(lr'), ml|5, 5, 2)
    lr_out = carafe(lr, ml|5, 5, 2)                            resampled where that is asked for
    hr_out = 2 hr - carafe(hr, mh|3, 3, 1)

Two things are computed in a cheaper, equal way. The window is a positive factor in front of a softmax that is divided
by its sum again, so it is an addition of its logarithm before the softmax. And ``a x - carafe(x, m)`` is one `carafe` with
the kernel ``-m`` whose middle tap is raised by ``a``; both reassemblies with the kernel ``ml|5`` are one over the maps
side by side.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn import functional

from lineside.export.modules.resample import LocalSimilaritySampler
from lineside.export.ops import emit
from lineside.export.ops.carafe import Border, Carafe
from lineside.runtime.errors import BadOption

__all__ = ["FreqFusion", "carafe", "hamming2d", "kernel_normalizer"]


def carafe(
    x: torch.Tensor, mask: torch.Tensor, kernel: int, up: int = 1, groups: int = 1, border: Border = "zero"
) -> torch.Tensor:
    """Content-aware reassembly: each pixel of the result is a weighted sum of those around its place in x.

    Args:
        x: ``(N, C, H, W)``.
        mask: Weights ``(N, groups * kernel * kernel, up * H, up * W)``, taps row-major.
        kernel: Taps along each axis.
        up: Factor of the resolution.
        groups: Groups of channels with weights of their own.
        border: What taps beyond the border see; ``reflect`` needs sides of more than ``kernel // 2``.

    Returns:
        ``(N, C, up * H, up * W)``.
    """
    return cast(torch.Tensor, emit.call(Carafe(kernel, up, groups, border), x, mask))


def hamming2d(rows: int, columns: int) -> torch.Tensor:
    """The outer product of two Hamming windows, ``0.54 - 0.46 cos(2 pi i / (n - 1))`` each, ``(rows, columns)`` float32."""
    first, second = (
        torch.hamming_window(n, periodic=False, alpha=0.54, beta=0.46, dtype=torch.float64) for n in (rows, columns)
    )
    return torch.outer(first, second).float()


def kernel_normalizer(mask: torch.Tensor, window: torch.Tensor | None = None, groups: int = 1) -> torch.Tensor:
    """Makes kernels whose taps are positive and add up to one, weighed by a window.

    Args:
        mask: ``(N, groups * taps, H, W)``, any numbers.
        window: Positive weights of the taps, any shape of ``taps`` or one elements; None for none.
        groups: Groups with kernels of their own.

    Returns:
        The same shape: ``softmax(mask) * window``, divided by its sum over the taps.
    """
    n, channels, h, w = mask.shape
    kernels = mask if groups == 1 else mask.reshape(n * groups, channels // groups, h, w)
    if window is not None:
        kernels = kernels + window.log().reshape(1, -1, 1, 1)
    return _shares(kernels).reshape(mask.shape)


class FreqFusion(nn.Module):
    """Fuses a fine map with one of half its size, as the module above says.

    What the options leave out:

    - ``use_high_pass=False``: no mh; neither hr' nor hr is sharpened, and ``hr_out`` is hr.
    - ``use_low_pass``: read for the sake of published configurations, without effect: the low-pass filter is what
      brings lr to the size of hr, so no chain is without it.
    - ``hr_residual=False``: ``hr_out`` holds the high frequencies alone, ``hr - carafe(hr, mh|3, 3, 1)``.
    - ``comp_feat_upsample=False``: nothing is sharpened or reassembled on the way to the kernels:
      ``ml = E1(hr') + up(E1(lr'))`` and ``mh = E2(hr') + up(E2(lr'))``, with the nearest pixel.
    - ``semi_conv=False``: ``ml = E1(hr' + up(lr'))``, ``mh = E2(hr' + up(lr'))``, and the filter runs behind the
      upsampling: ``lr_out = carafe(up(lr), ml|5, 5, 1)``. ``comp_feat_upsample`` says nothing then.
    - ``hamming_window=False``: windows of ones.
    - ``feature_resample``: ``lr_out`` is resampled by `lineside.export.modules.resample.LocalSimilaritySampler`, which
      sees hr' (sharpened, if it was) and lr'.

    Args:
        hr_channels: Channels of the fine map.
        lr_channels: Channels of the coarse map.
        compressed_channels: Channels of both while kernels are made from them.
        lowpass_kernel: Taps of the low-pass filter along each axis, odd; 5 above.
        highpass_kernel: Taps of the high-pass filter along each axis, odd; 3 above.
        use_high_pass: See above.
        use_low_pass: See above.
        hr_residual: See above.
        semi_conv: See above.
        hamming_window: See above.
        comp_feat_upsample: See above.
        feature_resample: See above.
        feature_resample_group: Groups of channels that are resampled at places of their own.
        feature_resample_norm: Whether the maps are normalised before their similarity is looked at.
        border: What filters see beyond the border: nothing, as the compiled operator of the published models did, or a
            mirror image, as their form in plain torch does.

    Raises:
        BadOption: A number of channels or taps is none that it can be built with.
    """

    def __init__(
        self,
        hr_channels: int,
        lr_channels: int,
        compressed_channels: int = 64,
        lowpass_kernel: int = 5,
        highpass_kernel: int = 3,
        use_high_pass: bool = True,
        use_low_pass: bool = True,
        hr_residual: bool = True,
        semi_conv: bool = True,
        hamming_window: bool = True,
        comp_feat_upsample: bool = True,
        feature_resample: bool = False,
        feature_resample_group: int = 4,
        feature_resample_norm: bool = True,
        border: Border = "zero",
    ) -> None:
        super().__init__()
        _check(hr_channels, lr_channels, compressed_channels, lowpass_kernel, highpass_kernel, border)
        self.lowpass_kernel, self.highpass_kernel, self.border = lowpass_kernel, highpass_kernel, border
        self.use_high_pass, self.use_low_pass, self.hr_residual = use_high_pass, use_low_pass, hr_residual
        self.semi_conv, self.comp_feat_upsample, self.hamming_window = semi_conv, comp_feat_upsample, hamming_window
        self.hr_channel_compressor = nn.Conv2d(hr_channels, compressed_channels, 1)
        self.lr_channel_compressor = nn.Conv2d(lr_channels, compressed_channels, 1)
        self.content_encoder = nn.Conv2d(compressed_channels, lowpass_kernel**2, 3, padding=1)
        if use_high_pass:
            self.content_encoder2 = nn.Conv2d(compressed_channels, highpass_kernel**2, 3, padding=1)
        for name, size in (("lowpass", lowpass_kernel), ("highpass", highpass_kernel)):
            window = hamming2d(size, size)[None, None] if hamming_window else torch.ones(1)
            self.register_buffer(f"hamming_{name}", window)
        self.dysampler: LocalSimilaritySampler | None = None
        if feature_resample:
            self.dysampler = LocalSimilaritySampler(
                compressed_channels, lr_channels, groups=feature_resample_group, norm=feature_resample_norm
            )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initial values: kernels start close to the plain windows, alike at every pixel."""
        for compressor in (self.hr_channel_compressor, self.lr_channel_compressor):
            nn.init.xavier_uniform_(compressor.weight)
            nn.init.zeros_(cast(torch.Tensor, compressor.bias))
        for encoder in (self.content_encoder, *([self.content_encoder2] if self.use_high_pass else [])):
            nn.init.normal_(encoder.weight, std=0.001)
            nn.init.zeros_(cast(torch.Tensor, encoder.bias))

    def forward(self, hr: torch.Tensor, lr: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Fuses.

        Args:
            hr: Fine map ``(N, hr_channels, 2 H, 2 W)``.
            lr: Coarse map ``(N, lr_channels, H, W)``.

        Returns:
            Kernels of the low-pass filter ``(N, lowpass_kernel ** 2, 2 H, 2 W)``; ``hr_out``, as hr; ``lr_out``
            ``(N, lr_channels, 2 H, 2 W)``. Adding or concatenating the two is left to the caller.

        Raises:
            BadOption: hr is not twice as high and wide as lr.
        """
        if hr.shape[2] != 2 * lr.shape[2] or hr.shape[3] != 2 * lr.shape[3]:
            raise BadOption(
                f"FreqFusion joins a map with one of half its size, and these are {tuple(hr.shape[2:])} and "
                f"{tuple(lr.shape[2:])}: choose layers whose strides differ by 2, and an input that they divide"
            )
        fine, coarse = self.hr_channel_compressor(hr), self.lr_channel_compressor(lr)
        if self.semi_conv and self.comp_feat_upsample:
            fine, low, high, lr_out = self._whole(fine, coarse, lr)
        else:
            low, high, lr_out = self._plain(fine, coarse, lr)
        hr_out = hr if high is None else self._minus_filtered(hr, high, 2 if self.hr_residual else 1)
        if self.dysampler is not None:
            lr_out = self.dysampler(fine, coarse, lr_out)
        return low, hr_out, lr_out

    def _whole(
        self, fine: torch.Tensor, coarse: torch.Tensor, lr: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """The whole chain: hr' as it ends, the kernels of both filters, and ``lr_out``."""
        high = None
        if self.use_high_pass:
            high = self._windowed(self.content_encoder2(fine), "highpass")
            fine = self._minus_filtered(fine, _shares(high), 2)
        low = self._windowed(self.content_encoder(fine), "lowpass")
        low = _shares(low + self._brought_up(self.content_encoder(coarse), _shares(low)))
        if high is None:
            return fine, low, None, self._brought_up(lr, low)
        taps = self.highpass_kernel**2
        both = self._brought_up(torch.cat([self.content_encoder2(coarse), lr], 1), low)
        return fine, low, _shares(high + both[:, :taps]), both[:, taps:]

    def _plain(
        self, fine: torch.Tensor, coarse: torch.Tensor, lr: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """The chain without reassembly on the way to the kernels: the kernels of both filters, and ``lr_out``."""
        joined = fine if self.semi_conv else fine + _doubled(coarse)
        kernels: list[torch.Tensor | None] = [None, None]
        encoders = (self.content_encoder, *([self.content_encoder2] if self.use_high_pass else []))
        for index, (encoder, name) in enumerate(zip(encoders, ("lowpass", "highpass"), strict=False)):
            mask = encoder(joined)
            if self.semi_conv:
                mask = mask + _doubled(encoder(coarse))
            kernels[index] = _shares(self._windowed(mask, name))
        low = cast(torch.Tensor, kernels[0])
        if self.semi_conv:
            return low, kernels[1], self._brought_up(lr, low)
        return low, kernels[1], carafe(_doubled(lr), low, self.lowpass_kernel, border=self.border)

    def _windowed(self, mask: torch.Tensor, name: str) -> torch.Tensor:
        """A mask with the window on it; its softmax is `kernel_normalizer`."""
        if not self.hamming_window:
            return mask
        window = cast(torch.Tensor, getattr(self, f"hamming_{name}"))
        return mask + window.log().reshape(1, -1, 1, 1)

    def _brought_up(self, x: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
        """Twice the resolution, through the low-pass filter."""
        return carafe(x, kernels, self.lowpass_kernel, 2, border=self.border)

    def _minus_filtered(self, x: torch.Tensor, kernels: torch.Tensor, times: int) -> torch.Tensor:
        """``times * x`` less what the high-pass filter's kernels make of it."""
        taps = self.highpass_kernel**2
        middle = torch.zeros(1, taps, 1, 1, dtype=kernels.dtype, device=kernels.device)
        middle[:, taps // 2] = times
        return carafe(x, middle - kernels, self.highpass_kernel, border=self.border)


def _shares(mask: torch.Tensor) -> torch.Tensor:
    """Softmax over axis 1; in a graph step by step, since engines turn maps around for a softmax over channels."""
    if not torch.onnx.is_in_onnx_export():
        return mask.softmax(1)
    positive = (mask - mask.amax(1, keepdim=True)).exp()
    return positive / positive.sum(1, keepdim=True)


def _doubled(x: torch.Tensor) -> torch.Tensor:
    """Twice the resolution, each pixel four times."""
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


def _check(hr: int, lr: int, compressed: int, low: int, high: int, border: str) -> None:
    """Raises unless a FreqFusion can be built with these numbers."""
    if min(hr, lr, compressed) < 1:
        raise BadOption(f"FreqFusion with {hr}, {lr} and {compressed} channels cannot be built: give at least 1 each")
    if min(low, high) < 1 or not low % 2 or not high % 2:
        raise BadOption(f"Filters of {low} and {high} taps have no middle: give odd numbers, such as 5 and 3")
    if border not in ("zero", "reflect"):
        raise BadOption(f"There is no border '{border}', only zero and reflect")
