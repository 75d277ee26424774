"""
Smoothing and cloning pictures
==============================

Two classics of image processing are linear systems with a row for every pixel. To smooth a picture without blurring
its edges is to let colours diffuse, but not across edges. To clone a part of one picture into another without a seam
is to solve a Laplace equation whose right-hand side is made of the part's differences of neighbours.

Both matrices couple neighbours only, so they are :class:`equipoise.operators.Stencil`, and the three channels of
colour are a batch. Pictures are kept with the channels first, in the shape ``(3, height, width)``.
"""

# %%
# Colours that diffuse within edges
# ---------------------------------
# The system is ``(I + lambda div w grad) x = picture`` with weights ``w = exp(-|difference|^2 / s^2)``: between
# pixels of like colours w is near one, across an edge it is near zero. The larger lambda, the farther colours flow.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

import equipoise as eq

flower = np.moveaxis(load_sample_image("flower.jpg") / 255.0, -1, 0).copy()
temple = np.moveaxis(load_sample_image("china.jpg") / 255.0, -1, 0).copy()


def show(ax, picture, title):
    ax.imshow(np.clip(np.moveaxis(picture, 0, -1), 0, 1))
    ax.set_title(title, loc="left", fontsize="medium")
    ax.set_axis_off()


s = 0.07
weights = [np.exp(-np.sum(np.diff(flower, axis=axis) ** 2, axis=0) / s**2) for axis in (1, 2)]
strengths = [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0]


def system(strength):
    A = eq.operators.Stencil.diffusion([strength * w for w in weights], shift=1.0)
    return eq.linear.System(A, flower, context=strength)


# %%
# A path of lambdas is a sequence of systems, each of which starts from the solution of the one before. A picture has
# 256 levels, so a relative error of 1e-4 is enough. The weights differ from pixel to pixel, and there is no closed form
# for Young's factor; it is estimated from the spectrum, and adapted from one system to the next.

path = [system(strength) for strength in strengths]
result = eq.linear.solve_sequence(path, solver="ssor_cg", x0=flower, keep="all", tol=1e-4)
jacobi = [
    eq.linear.cg(each.A, flower, preconditioner=eq.linear.Jacobi(), x0=x, tol=1e-4)
    for each, x in zip(path, [flower, *result.x], strict=False)
]
print("lambda   omega   steps   with a Jacobi preconditioner")
for row in zip(strengths, result.omega, result.steps, [int(r.steps.max()) for r in jacobi], strict=True):
    print("{:6g}{:8.3f}{:8d}{:8d}".format(*row))

figure, axes = plt.subplots(2, 2, figsize=(10, 7.2), layout="constrained")
show(axes[0, 0], flower, "the photograph")
for ax, k in zip(axes.flat[1:], (2, 4, 5), strict=True):
    show(ax, result.x[k], f"lambda = {strengths[k]:g}")

# %%
# From near, one sees that the rims of the petals stay where they are, while the shades within them become one.

figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
for ax, picture, title in zip(
    axes, (flower, result.x[4], result.x[5]), ("the photograph", "lambda = 256", "lambda = 1024"), strict=True
):
    show(ax, picture[:, 160:300, 230:390], title)

# %%
# The system becomes stiff as lambda grows, and the number of steps grows like its root. For still larger values, or
# larger pictures, take algebraic multigrid, whose steps hardly grow.
#
# A flower in the sky
# -------------------
# To paste the flower into the other photograph looks like what it is. To clone it (Perez, Gangnet and Blake, *Poisson
# image editing*, 2003) keeps the differences between its pixels only, and takes the colours along its rim from the
# sky: inside, ``4 u_i - sum of neighbours`` is that of the flower, and outside u is the other picture.
#
# The flower is taken at half its size, and cut out by a circle just within its petals.

half = flower[:, :426].reshape(3, 213, 2, 320, 2).mean(axis=(2, 4))
part = half[:, 43:180, 85:222]
inside = np.hypot(*np.ogrid[-68:69, -68:69]) < 65

# %%
# The matrix lives on a window of the sky. Rows of pixels outside of the circle are those of the identity; at
# the rim the sky's colour goes to the right-hand side, which keeps the matrix symmetric.

top, left = 30, 408
window = temple[:, top : top + 137, left : left + 137]
faces, b = [], np.where(inside, 0.0, window)
for axis in (0, 1):
    lower = (slice(None), slice(None, -1)) if axis else (slice(None, -1),)
    upper = (slice(None), slice(1, None)) if axis else (slice(1, None),)
    rise = np.diff(part, axis=axis + 1)
    for here, there, sign in ((lower, upper, -1), (upper, lower, 1)):
        on_rim = inside[here] & ~inside[there]
        b[(slice(None), *here)] += inside[here] * sign * rise + on_rim * window[(slice(None), *there)]
    faces.append((inside[lower] & inside[upper]).astype(float))
A = eq.operators.Stencil(np.where(inside, 4.0, 1.0), tuple(faces), inside.shape)

cloned = eq.linear.cg(A, b, preconditioner=eq.linear.SSOR(), x0=window, tol=1e-6)
plain = eq.linear.cg(A, b, x0=window, tol=1e-6)
print(f"{inside.sum()} pixels inside, omega {eq.linear.optimal_omega(A):.3f}")
print(f"{cloned.steps.max()} steps with SSOR, {plain.steps.max()} without a preconditioner")

# %%
# The pasted flower keeps the light of its garden. The cloned one stands in the light of the sky.

pictures = {"pasted": np.where(inside, part, window), "cloned": cloned.x}
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
for ax, (title, patch) in zip(axes, pictures.items(), strict=True):
    whole = temple.copy()
    whole[:, top : top + 137, left : left + 137] = patch
    show(ax, whole, title)
plt.show()
