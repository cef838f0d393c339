"""The temporal lifter of VideoPose3D as it is usually written, to measure ours against.

Dilated `Conv1d` layers over (batch, channels, frames), in evaluation mode; it takes the weights of
one of our lifters, so that both compute the same poses.
"""

import torch
from torch import Tensor, nn

from adaptpose.lifters.tcn import TemporalLifter


class PlainConvLifter(nn.Module):
    """Same numbers as `TemporalLifter.forward`, by convolutions; for filters of any width."""

    def __init__(self, lifter: TemporalLifter) -> None:
        super().__init__()
        channels, widths = lifter.config.channels, lifter.config.widths
        inputs = 2 * lifter.skeleton_in.num_joints
        self.root = lifter.skeleton_out.root
        self.expand = nn.Conv1d(inputs, channels, widths[0], bias=False)
        self.expand_norm = nn.BatchNorm1d(channels)
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        self.starts, dilation = [], widths[0]
        for width in widths[1:]:
            wide = nn.Conv1d(channels, channels, width, dilation=dilation, bias=False)
            self.convolutions += [wide, nn.Conv1d(channels, channels, 1, bias=False)]
            self.norms += [nn.BatchNorm1d(channels), nn.BatchNorm1d(channels)]
            self.starts.append(width // 2 * dilation)
            dilation *= width
        self.shrink = nn.Conv1d(channels, 3 * (lifter.skeleton_out.num_joints - 1), 1)
        self.load_from(lifter)

    def load_from(self, lifter: TemporalLifter) -> None:
        """Copy weights and statistics; the lifter keeps a filter as one matrix, frame by frame."""
        assert lifter.shrink.bias is not None
        ours = [lifter.expand_conv, *lifter.layers_conv, lifter.shrink]
        theirs = [self.expand, *self.convolutions, self.shrink]
        with torch.no_grad():
            for plain, layer in zip(theirs, ours, strict=True):
                frames = layer.weight.unflatten(1, (plain.kernel_size[0], -1))
                plain.weight.copy_(frames.movedim(1, 2))
        self.shrink.bias = nn.Parameter(lifter.shrink.bias.detach().clone())
        norms = [lifter.expand_bn, *lifter.layers_bn]
        for plain, norm in zip([self.expand_norm, *self.norms], norms, strict=True):
            plain.load_state_dict(norm.state_dict())

    def forward(self, pose2d: Tensor) -> Tensor:
        """(B, T, J, 2) to (B, T - receptive field + 1, J, 3), root-relative."""
        x = pose2d.flatten(2).mT
        x = torch.relu(self.expand_norm(self.expand(x)))
        for block, start in enumerate(self.starts):
            y = torch.relu(self.norms[2 * block](self.convolutions[2 * block](x)))
            y = torch.relu(self.norms[2 * block + 1](self.convolutions[2 * block + 1](y)))
            x = x[:, :, start : start + y.shape[2]] + y
        joints = self.shrink(x).mT.unflatten(2, (-1, 3))
        zero = torch.zeros_like(joints[:, :, :1])
        return torch.cat([joints[:, :, : self.root], zero, joints[:, :, self.root :]], dim=2)
