"""What the demo leaves behind for people: a picture and a page."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


def draw(curve, before, after, path):
    fig, ax = plt.subplots(figsize=(7, 4), dpi=130)
    rounds = [c["round"] for c in curve]
    ax.plot(rounds, [c["reward"] for c in curve], marker="o", color="#c8401a", label="rollouts of the round")
    ax.axhline(before, color="#888888", linestyle="--", label=f"held-out, base model ({before:.2f})")
    if after is not None:
        ax.axhline(after, color="#1a6fc8", linestyle="--", label=f"held-out, last checkpoint ({after:.2f})")
    ax.set(xlabel="round", ylabel="mean reward", ylim=(0, 1.02), title="SmolLM2-135M-Instruct: sentence to JSON")
    ax.set_xticks(rounds)
    ax.legend(loc="lower right")
    fig.tight_layout()
    part = path.with_suffix(".part.png")
    fig.savefig(part)
    plt.close(fig)
    part.replace(path)


def write_samples(path, held_out, before, after):
    lines = ["# Held-out samples", ""]
    for example, b, a in list(zip(held_out, before, after))[:20]:
        lines += [f"**{example['messages'][0]['content'].splitlines()[-1]}**", ""]
        lines += [f"- before ({b.evals['score']:.2f}): `{b.text!r}`", f"- after ({a.evals['score']:.2f}): `{a.text!r}`", ""]
    path.write_text("\n".join(lines))
