"""How much sooner a few-step student has its video than its teacher: the same sentences, from request to decoded frames, by turns.

    python benchmarks/student.py [thumb-quick] [--against thumb] [--rounds 5]

Each makes a video with its own settings. Seconds are processor time of one video, the median of the rounds; weights are loaded before.
"""

from __future__ import annotations

import argparse
import statistics
import time

import flipbook

SENTENCES = ("a red circle bounces on a gray background", "white clouds drift left over a blue sky", "a large green star falls on a teal background")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", nargs="?", default="thumb-quick")
    parser.add_argument("--against", default="thumb")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    models = {name: flipbook.load(name) for name in (asked.student, asked.against)}
    taken: dict[str, list[float]] = {name: [] for name in models}
    for seed in range(-1, asked.rounds):                                    # the first round warms up
        for name, model in models.items():
            before = time.process_time()
            model.generate(SENTENCES[seed % len(SENTENCES)], seed=seed + 1)
            taken[name].append(time.process_time() - before)
    medians = {name: statistics.median(times[1:]) for name, times in taken.items()}
    print("| model | steps | guidance | seconds a video |\n|---|---|---|---|")
    for name, seconds in medians.items():
        how = models[name].system.defaults
        print(f"| {name} | {how['num_inference_steps']} | {how['guidance_scale']:g} | {seconds:.2f} |")
    ratios = [slow / fast for slow, fast in zip(taken[asked.against][1:], taken[asked.student][1:], strict=True)]
    print(f"\n{asked.student} is {statistics.median(ratios):.1f} times as fast ({min(ratios):.1f} to {max(ratios):.1f}).")


if __name__ == "__main__":
    main()
