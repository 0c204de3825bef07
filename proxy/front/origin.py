"""Where clients come from: how their 5-tuples are made, and who answers them."""

from typing import NamedTuple

from proxy.front.answerer import Answerer
from proxy.front.five_tuple import FiveTuples, SocketTuples

__all__ = ["Origin"]


class Origin(NamedTuple):
    """Of one listening socket, or of one listener's clients that another process accepted."""

    five_tuples: FiveTuples | SocketTuples
    answerer: Answerer
