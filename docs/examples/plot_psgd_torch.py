"""
PSGD in a training script of torch
==================================

A small network learns to read scikit-learn's digits, with parameter groups, a learning-rate scheduler and a checkpoint
in the middle. One line decides which optimizer does it. This example changes that line from AdamW to ``PSGD``, tunes
both alike, and breaks a run off to show that it goes on from a file bit for bit.
"""

# %%
# The script
# ----------
# Nothing here knows of PSGD. Weights decay and biases do not, as is usual, so there are two parameter groups; batches
# are drawn from the number of the epoch, so that a run that is taken up again meets the same ones.

import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from equipoise_torch import PSGD
from sklearn.datasets import load_digits

import equipoise as eq

torch.set_num_threads(1)
digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.target))
x, y = torch.tensor(digits.data[order] / 16, dtype=torch.float32), torch.tensor(digits.target[order])
train, test = slice(0, 1400), slice(1400, None)
epochs = 12


def network(seed):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 10))


def groups(model):
    weights = [p for p in model.parameters() if p.ndim == 2]
    biases = [p for p in model.parameters() if p.ndim == 1]
    return [{"params": weights, "weight_decay": 1e-3}, {"params": biases, "weight_decay": 0.0}]


def set_up(make, seed=0):
    model = network(seed)
    optimizer = make(groups(model))
    return model, optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)


def loss_on(model, part):
    with torch.no_grad():
        return float(torch.nn.functional.cross_entropy(model(x[part]), y[part]))


def learn(model, optimizer, scheduler, numbers):
    """The epochs of these numbers; returns the loss on all training data after each."""
    losses = []
    for epoch in numbers:
        shuffled = torch.randperm(1400, generator=torch.Generator().manual_seed(epoch))
        for batch in shuffled.split(100):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x[train][batch]), y[train][batch])
            loss.backward()
            optimizer.step()
        scheduler.step()
        losses.append(loss_on(model, train))
    return losses


# %%
# The line
# --------
# This is the script as it was, and the line that changes. AdamW is not given away: each of the two gets two learning
# rates, and keeps the one that does better on digits it has not seen. Lower ones were worse for both.


def before(lr):
    return lambda parameters: torch.optim.AdamW(parameters, lr=lr)


def after(lr):
    return lambda parameters: PSGD(parameters, lr=lr)  # this one


curves, best = {}, {}
for name, make in {"AdamW": before, "PSGD": after}.items():
    for lr in (0.03, 0.1):
        run = set_up(make(lr))
        begin = time.process_time()
        losses = learn(*run, range(epochs))
        seconds = time.process_time() - begin
        unseen = loss_on(run[0], test)
        step = 1e3 * seconds / (14 * epochs)
        print(f"{name:5} lr {lr:4}: loss {losses[-1]:.5f}, on unseen digits {unseen:.4f}, {step:.1f} ms a step")
        if name not in best or unseen < best[name][0]:
            best[name] = unseen, lr, run
            curves[name] = losses

# %%
# What was to be minimised is far smaller after the same steps. On digits that were not seen the two are alike: 1400 of
# them say only so much, and no optimizer gets more out of them. A step takes longer, as the last column says: AdamW
# works on a few numbers a parameter, PSGD multiplies matrices. Whether that pays depends on what a gradient costs, and
# here it costs next to nothing.

# %%
# To be continued
# ---------------
# The best run above was interrupted by nobody. This one is stored after half of its epochs. The file holds tensors and
# numbers alone, so that it can be read with ``weights_only=True``, which runs no code that a file may bring along.

_, lr, (whole, _, _) = best["PSGD"]
folder = tempfile.TemporaryDirectory()
file = Path(folder.name) / "checkpoint.pt"

model, optimizer, scheduler = set_up(after(lr))
learn(model, optimizer, scheduler, range(epochs // 2))
stored = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
torch.save(stored, file)
print(
    f"a file of {file.stat().st_size / 1024:.0f} kB, of which {optimizer.state_bytes() / 1024:.0f} are the optimizer's"
)

# %%
# Another process would begin here. Its network starts elsewhere, to show that all of it comes from the file.

model, optimizer, scheduler = set_up(after(lr), seed=1)
read = torch.load(file, weights_only=True)
model.load_state_dict(read["model"])
optimizer.load_state_dict(read["optimizer"])
scheduler.load_state_dict(read["scheduler"])
learn(model, optimizer, scheduler, range(epochs // 2, epochs))
folder.cleanup()

for resumed, uninterrupted in zip(model.parameters(), whole.parameters(), strict=True):
    assert torch.equal(resumed, uninterrupted)
print("every parameter is bit for bit that of the uninterrupted run")

# %%
# What was learnt about the gradients
# -----------------------------------
# For a weight of shape (64, 64) a Kronecker preconditioner is a product of two matrices, one for the units and one for
# the pixels. The diagonal of the latter says which pixels have steps that are stretched: those at the sides, which are
# dark in most digits and whose gradients are small.

weight = next(p for p in model.parameters() if p.ndim == 2)
Q = optimizer.state[weight]["Q.1"]
pixels = (Q @ Q).diagonal().reshape(8, 8)

figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", width_ratios=(1.4, 1))
eq.plot.optimizer({f"{name}, lr {best[name][1]}": curve for name, curve in curves.items()}, ax=axes[0])
axes[0].axvline(epochs // 2, color="0.5", linestyle="--", linewidth=1)
axes[0].annotate("stored here", (epochs // 2, axes[0].get_ylim()[1]), (4, -14), textcoords="offset points", color="0.5")
axes[0].set(xlabel="epochs", ylabel="loss on all training data")
image = axes[1].imshow(pixels)
figure.colorbar(image, ax=axes[1], label="entry of the diagonal")
axes[1].set(title="how far steps are stretched", xticks=[], yticks=[])
plt.show()
