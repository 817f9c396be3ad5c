"""Modules of PyTorch and the calls that export them, for two versions of it:

    python3 torch_models.py NAME FOLDER     writes FOLDER/model.onnx, state.npz and inputs.npz with this Python's torch

make_models.py runs this with PyTorch 1.13 and 2.5 for the entries that say so, and computes the references itself.
"""
import os
import sys
import warnings

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

VERSION = tuple(int(v) for v in torch.__version__.split(".")[:2])
TRAINING = torch.onnx.TrainingMode.TRAINING
KEEP = {"training": TRAINING, "do_constant_folding": False}  # the call of docs/from-pytorch.md


def convolution(*a, **k):
    # With the usual eps the gradients by beta and by the stored mean, which are one tensor here, cancel to 5e-6.
    c = nn.Conv2d(*a, **k)
    return [c, nn.ReLU(), nn.BatchNorm2d(c.out_channels, eps=0.125)]


class MergedNet(nn.Module):
    """Conv, ReLU, BN: the batch norm is behind the ReLU, so nothing can be fused, and its tensors stay equal."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(*convolution(3, 6, 3), *convolution(6, 6, 3, stride=2), *convolution(6, 6, 3,
                                                                                                       padding=1))
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


class Decoder(nn.Module):
    """Transposed convolutions with output padding, groups, dilation, uneven strides."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 8 * 3 * 2)
        self.up = nn.Sequential(
            nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1, output_padding=1), nn.ELU(),
            nn.ConvTranspose2d(6, 4, (3, 2), stride=(3, 2), padding=(0, 1), output_padding=(2, 1), groups=2),
            nn.Softplus(),
            nn.ConvTranspose2d(4, 2, 3, dilation=2, bias=False))
        self.line = nn.ConvTranspose1d(2, 1, 4, stride=2, padding=1)

    def forward(self, x):
        x = self.up(self.inner(x).reshape(-1, 8, 3, 2))
        return torch.sigmoid(self.line(x.mean(3)))


class TiedModel(nn.Module):
    """A language model whose output layer is the embedding, and a layer that is used twice."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.again = nn.Linear(8, 8)
        self.out = nn.Linear(8, 11, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, ids):
        x = torch.tanh(self.again(torch.tanh(self.again(self.embed(ids)))))
        return self.out(x).mean(1)


class EncoderNew(nn.Module):
    """Two blocks, GELU once by erf and once by tanh, LayerNorm before and behind, masked attention."""

    def __init__(self, width=12, heads=3):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, 16), nn.Linear(16, width)
        self.fc3 = nn.Linear(width, 4)

    def forward(self, x, mask):
        b, t, w = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, t, 3, self.heads, w // self.heads).permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(q, k, v, attn_mask=mask.unsqueeze(1).unsqueeze(1))
        x = x + self.proj(a.transpose(1, 2).reshape(b, t, w))
        x = self.norm2(x + self.fc2(F.gelu(self.fc1(x))))
        return F.gelu(self.fc3(x[:, 0]), approximate="tanh")


class RMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class Llama(nn.Module):
    """RMSNorm written out, rotary positions, causal attention with shared keys, SiLU gate, Mish, tied output."""

    def __init__(self, width=8, heads=2, builtin=False):
        super().__init__()
        self.heads, size = heads, width // heads
        self.embed = nn.Embedding(10, width)
        self.norm1, self.norm2, self.norm3 = (
            nn.RMSNorm(width, eps=1e-6) if builtin else RMSNorm(width) for _ in range(3))
        self.q, self.o = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(width, 2 * size, bias=False)
        self.gate, self.up = nn.Linear(width, 12, bias=False), nn.Linear(width, 12, bias=False)
        self.down = nn.Linear(12, width, bias=False)
        self.out = nn.Linear(width, 10, bias=False)
        self.out.weight = self.embed.weight
        self.register_buffer("rate", 1.0 / 10 ** torch.arange(0, 1, 2 / size))

    def turn(self, x):
        angle = torch.arange(x.shape[-2], device=x.device).to(x.dtype).unsqueeze(1) * self.rate
        a, b = x.chunk(2, -1)
        return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)

    def forward(self, ids):
        x = self.embed(ids)
        b, t, w = x.shape
        h = self.norm1(x)
        q = self.turn(self.q(h).reshape(b, t, self.heads, -1).transpose(1, 2))
        k, v = self.kv(h).unsqueeze(1).chunk(2, -1)
        k = self.turn(k).expand(q.shape)
        a = F.scaled_dot_product_attention(q, k, v.expand(q.shape), is_causal=True)
        x = x + self.o(a.transpose(1, 2).reshape(b, t, w))
        h = self.norm2(x)
        x = x + F.mish(self.down(F.silu(self.gate(h)) * self.up(h)))
        return self.out(self.norm3(x)).mean(1)


class LlamaBuiltin(Llama):
    def __init__(self):
        super().__init__(builtin=True)


class Norms13(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 6, 3)
        self.group, self.layer = nn.GroupNorm(3, 6), nn.LayerNorm(4)
        self.out = nn.Linear(4, 3)

    def forward(self, x):
        x = F.silu(self.group(self.conv(x)))
        x = F.mish(self.layer(x))
        return F.log_softmax(self.out(F.gelu(x)), -1)


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.fc = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, x):
        return x + F.gelu(self.fc(self.norm(x)))


class Functions(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = Block(6), Block(6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.second(self.first(x)))


class ViewNet(nn.Module):
    """Shapes are computed from the batch's size."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 3, 3, stride=2), nn.Linear(3 * 9, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, 4))

    def forward(self, x):
        h = F.hardswish(self.conv(x)).view(x.size(0), -1)
        h = torch.cat([self.token.expand(x.size(0), -1, -1), self.fc(h).unsqueeze(1)], 1)
        return h.reshape(h.shape[0], -1)


class TrainedConv(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1, self.b1 = nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.c2, self.b2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = F.relu(self.b1(self.c1(x)))
        x = F.relu(self.b2(self.c2(x)) + x)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class FusedConv(TrainedConv):
    """TrainedConv as the new exporter writes it: its batch norms are in the convolutions."""

    def __init__(self):
        super().__init__()
        self.c1, self.b1 = nn.Conv2d(2, 4, 3), nn.Identity()
        self.c2, self.b2 = nn.Conv2d(4, 4, 3, padding=1), nn.Identity()


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.b, self.c = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(10, 1, 3, padding=1)
        self.norm = nn.InstanceNorm2d(4, affine=True)

    def forward(self, x):
        a = F.leaky_relu(self.norm(self.a(x)), 0.125)
        b = F.relu(self.b(F.max_pool2d(a, 2, ceil_mode=True)))
        b = F.interpolate(b, size=a.shape[2:], mode="bilinear", align_corners=False)
        return self.c(torch.cat([a, b], 1))


def entry(module, make, loss, wave, exporter, note, train=False, jitter=True, **call):
    """exporter: "1.13" or "script" (TorchScript, of Debian's and of the new PyTorch), "2.5" or "dynamo" (the new
    exporter, as it was first and as it is).
    jitter: make what is all ones or zeros random, so that a mistake shows."""
    return {"note": note, "module": module, "inputs": make, "loss": loss, "wave": wave, "exporter": exporter,
            "train": train, "jitter": jitter, "call": call}


def image(*shape):
    return lambda: {"x": torch.randn(*shape)}


def tokens(words):
    return lambda: {"ids": torch.randint(0, words, (2, 5))}


def masked():
    return {"x": torch.randn(2, 5, 12), "mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()}


ce, mse = "softmax_cross_entropy", "mse"
MODELS = {
    "merged_eval": entry(
        MergedNet, image(3, 3, 9, 9), ce, 1, "1.13",
        "Conv-ReLU-BN in eval mode: the exporter makes one tensor of all gammas and running_vars, one of all betas and"
        " running_means (Identity nodes); grad is by the file's tensor, the sum over all its roles",
        jitter=False, opset_version=13),
    "decoder_convtranspose": entry(
        Decoder, lambda: {"z": torch.randn(2, 6)}, mse, 1, "1.13",
        "ConvTranspose with output_padding, groups, dilation, uneven strides, 1-D and 2-D", opset_version=11, **KEEP),
    "tied_training": entry(
        TiedModel, tokens(11), ce, 2, "1.13",
        "weights tied: the embedding is the output layer (Transpose of the same initialiser), a layer is used twice",
        train=True, opset_version=15, **KEEP),
    "tied_folded": entry(
        TiedModel, tokens(11), ce, 2, "script",
        "the same by the default call: the output layer is a transposed copy under another name, no longer tied",
        opset_version=17),
    "functions_1_13": entry(
        Functions, image(4, 6), ce, 2, "1.13",
        "export_modules_as_functions: two kinds of modules are functions of the model, nested, in two domains",
        opset_version=15, export_modules_as_functions={Block, nn.LayerNorm}),
    "dynamic_batch_script": entry(
        ViewNet, image(3, 1, 8, 8), ce, 1, "1.13", "symbolic batch: view and expand by Shape, Gather, Concat",
        train=True, opset_version=14, dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}}, **KEEP),
    "dynamic_batch_dynamo": entry(
        ViewNet, image(3, 1, 8, 8), ce, 1, "dynamo",
        "the same by the new exporter: symbolic batch in Shape, Expand, Reshape",
        dynamic_shapes={"x": {0: "batch"}}, external_data=False),
    "external_data": entry(
        TrainedConv, image(3, 2, 7, 7), ce, 1, "dynamo",
        "new exporter, optimize=False: all parameters keep their names, model.onnx.data; batch norms with stored"
        " statistics, as that exporter writes them in train mode too", optimize=False),
    "fused_dynamo": entry(
        TrainedConv, image(3, 2, 7, 7), ce, 1, "dynamo",
        "new exporter, default call: Conv and BN fused, the fused weight goes by the convolution's name",
        external_data=False),
    "functions_2_5": entry(
        TrainedConv, image(3, 2, 7, 7), ce, 1, "2.5",
        "new exporter as it was in 2.5: batch norms as functions of the model, which call BatchNormalization; external"
        " data; wrong shapes in value_info for outputs of those calls that nothing reads"),
    "training_script_2": entry(
        TrainedConv, image(4, 2, 7, 7), ce, 1, "script",
        "TorchScript exporter of the new PyTorch, the call of docs/from-pytorch.md: training_mode=1",
        train=True, opset_version=20, **KEEP),
    "encoder_dynamo": entry(
        EncoderNew, masked, ce, 2, "dynamo",
        "new exporter: attention with a boolean mask, GELU by erf and by tanh, LayerNormalization",
        opset_version=18, external_data=False),
    "encoder_script": entry(
        EncoderNew, masked, ce, 2, "script",
        "the same by the TorchScript exporter, opset 14: LayerNorm as nine nodes, GELU by erf and by tanh written out",
        train=True, opset_version=14, **KEEP),
    "llama_dynamo": entry(
        Llama, tokens(10), ce, 2, "dynamo",
        "new exporter, opset 18: RMSNorm, SiLU and Mish written out, rotary positions, causal attention with shared"
        " keys, tied embedding", opset_version=18, external_data=False, optimize=False),
    "llama_opset23": entry(
        LlamaBuiltin, tokens(10), ce, 2, "dynamo",
        "new exporter, opset 23: RMSNormalization and Attention as operators; the embedding goes by the output layer's"
        " name, the output layer is a transposed copy", opset_version=23, external_data=False),
    "norms_script_13": entry(
        Norms13, image(2, 2, 5, 6), mse, 1, "script",
        "opset 13 by the TorchScript exporter of the new PyTorch: GroupNorm through InstanceNormalization, LayerNorm,"
        " SiLU, Mish, GELU written out, LogSoftmax", train=True, opset_version=13, **KEEP),
    "unet_script": entry(
        UNet, image(2, 2, 7, 6), mse, 1, "script",
        "Concat with a skip, MaxPool with ceil_mode, Resize to a size, InstanceNormalization",
        train=True, opset_version=17, **KEEP),
}


def build(name):
    """The module with random parameters, in the mode of its export; example inputs."""
    e = MODELS[name]
    torch.manual_seed(sum(name.encode()))
    module = e["module"]().train(e["train"])
    if e["jitter"]:
        with torch.no_grad():
            for key, t in module.state_dict().items():
                if t.is_floating_point() and t.dim() <= 1 and key != "rate":
                    t += 0.3 * torch.rand_like(t)
    return module, e["inputs"]()


def export(name, folder):
    e = MODELS[name]
    module, inputs = build(name)
    call = dict(e["call"])
    if e["exporter"] != "1.13":
        call["dynamo"] = e["exporter"] in ("2.5", "dynamo")
        call["verbose"] = False
    state = {k: v.detach().numpy().copy() for k, v in module.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, tuple(inputs.values()), os.path.join(folder, "model.onnx"), input_names=list(inputs),
                          output_names=["y"], **call)
    np.savez(os.path.join(folder, "state.npz"), **state)
    np.savez(os.path.join(folder, "inputs.npz"), **{k: v.numpy() for k, v in inputs.items()})


if __name__ == "__main__":
    export(sys.argv[1], sys.argv[2])
