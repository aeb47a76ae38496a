"""The coupling graph: run the model once, watch its operations, and know what can be removed and what goes with it."""

from niwaki.graph.call import Call
from niwaki.graph.graph import Graph, Verdict
from niwaki.graph.rules import rule

__all__ = ["Call", "Graph", "Verdict", "rule"]
