"""A process that answers page after page and says what was acknowledged, until it is killed or done.

python tests/human/saver.py URL RATER
"""

from __future__ import annotations

import sys

from compressed_lens.human.store import HumanStore


def values(position: int) -> dict[str, int]:
    """Return what is answered at a position."""
    return {"trustworthiness": position % 5 + 1, "coherence": position * 7 % 5 + 1}


def main(url: str, rater: str) -> None:
    with HumanStore.open(url) as store:
        print("ready", flush=True)
        while (position := store.first_unanswered(rater)) is not None:
            said = store.save(rater, position, values=values(position), comment="", seconds=1, form=f"form {position}")
            print(position, said, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
