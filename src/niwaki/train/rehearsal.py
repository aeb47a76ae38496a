"""Before any step is spent: can the method be carried out on this model?"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from niwaki.errors import BadInput, CannotFollow
from niwaki.graph import Graph
from niwaki.methods import Choose, Cut, Hold, Mask, Method, Part, Recover, Regularize, Sensitive
from niwaki.methods.press import Press, Spread
from niwaki.methods.several import Together
from niwaki.methods.view import Of
from niwaki.ranks import check_wrapped
from niwaki.scores import L1
from niwaki.surgery import optimizer as follower
from niwaki.surgery.cut import is_hooked
from niwaki.surgery.decide import tell_if_nothing
from niwaki.surgery.singles import check_own
from niwaki.targets import Target
from niwaki.train.looks import Looks
from niwaki.train.movement import check_watched
from niwaki.train.snapshot import check_rewinds
from niwaki.train.stepping import with_closure
from niwaki.train.view import EngineView
from niwaki.wording import counted, some
from niwaki.wrappers import bare

logger = logging.getLogger("niwaki")


def must_be_method(method: object) -> Method:
    """The method itself.

    Raises:
        BadInput: it is none.
    """
    if not isinstance(method, Method):
        raise BadInput(f"method must come from nk.methods, not {type(method).__name__}")
    return method


def refuse_flattened(model: nn.Module) -> None:
    """Raise :class:`BadInput` for FSDP1, under which no parameter has its own shape. (By name: it is slow to
    import.)"""
    if any(kind.__name__ == "FullyShardedDataParallel" for module in model.modules() for kind in type(module).__mro__):
        raise BadInput(
            "the model is wrapped in FullyShardedDataParallel (FSDP1), which flattens parameters: what belongs to a "
            "unit cannot be told. Use FSDP2 (torch.distributed.fsdp.fully_shard; in Accelerate and the Trainer of "
            "transformers fsdp_version=2)."
        )


def what_of(method: Method) -> frozenset[Of]:
    """What a method prunes: units, single weights.

    Raises:
        BadInput: it would cut single weights, or it mixes both.
    """
    parts = list(method.body.walk())
    found: frozenset[Of] = frozenset(part.of for part in parts if hasattr(part, "of"))
    if "weights" in found and any(isinstance(part, Cut) for part in parts):
        raise BadInput(
            f"{method.name} chooses single weights, and has a cut. Single weights can only be zero: end with Mask(), "
            "and prune units in a run of its own."
        )
    if len(found) > 1:
        told = ", ".join(f"{type(part).__name__} of {part.of}" for part in parts if hasattr(part, "of"))
        raise BadInput(
            f"{method.name} has parts for units and parts for single weights ({told}). Give all of them the same 'of', "
            "and prune the others in a run of its own."
        )
    return found or frozenset(("units",))


def check_order(method: Method) -> None:
    """See that no choice takes the place of one that is still to be carried out.

    Raises:
        BadInput: parts side by side choose; or what was chosen and pressed is neither cut nor masked before the next
            choice.
    """
    for part in method.body.walk():
        if isinstance(part, Together) and sum(_chooses(each) for each in part.parts) > 1:
            raise BadInput(
                f"{method.name} has parts side by side that choose, and there is one choice at a time: the last would "
                "take the place of the others. Choose once, with a share for each pattern (nk.Ratio({...})), or let "
                "the parts follow each other"
            )
    pressed = False
    for part in method.body.walk():
        if pressed and isinstance(part, Choose):
            raise BadInput(
                f"{method.name} presses what it chose and then chooses anew, so that the first choice is forgotten. "
                "Put a Cut() or a Mask() between, or choose once, with a share for each pattern (nk.Ratio({...}))"
            )
        pressed = isinstance(part, Press) or (pressed and not isinstance(part, (Cut, Mask)))


def _chooses(part: Part) -> bool:
    return any(isinstance(inner, (Choose, Recover, Sensitive)) for inner in part.walk())


def rehearse(method: Method, graph: Graph) -> None:
    """Check every choice of a method against a model before any step is spent.

    Raises:
        UnreachableTarget, BadInput: a choice that cannot be made.
    """
    what_of(method)
    check(method, EngineView(graph.model, graph, None, 1))


def check(method: Method, view: EngineView) -> None:
    """The same, on what the engine shows of a model."""
    check_order(method)
    check_rewinds(method)
    check_watched(method, view.model)
    for part in method.body.walk():
        if isinstance(part, Choose):
            chosen = view.select(view.worth(part.score, part.of), part.target, part.of)
            if part.of == "weights":
                check_own(view.model, chosen)
            else:
                tell_if_nothing(view.known, part.target, {n: c for n, c in chosen.items() if not isinstance(c, Tensor)})
        elif isinstance(part, (Recover, Sensitive)) and view.looks is not None:
            _check_looking(part, view, view.looks)


def _check_looking(part: Recover | Sensitive, view: EngineView, looks: Looks) -> None:
    """See that there are groups to look at, and tell which are left alone."""
    graph = view.known
    if isinstance(part, Recover):
        places = looks.places(graph, part.target, part.sampling, outputs=part.outputs)
        if all(place.whole for place in places):
            tell_if_nothing(graph, part.target, {})
        if part.compensate or part.selector.moments:
            _tell_of_no_matrix(part, looks.no_matrix(graph, part.target, part.sampling))
        if part.compensate or part.selector.rescales:
            what = "compensation" if part.compensate else "rescaling"
            looks.check_written(graph, part.target, part.sampling, what)
    else:
        worth = view.worth(L1(), "units")  # how many go is no matter of their worth
        seen = {name: worth[name] for name in looks.seen(graph, part.target, part.sampling)}
        chosen = view.select(seen, part.target, as_is=True)
        tell_if_nothing(graph, part.target, {n: c for n, c in chosen.items() if not isinstance(c, Tensor)})
    outputs = isinstance(part, Recover) and part.outputs
    for name, reason in looks.left_out(graph, part.target, part.sampling, outputs=outputs).items():
        view.note(event="left", group=name, reason=reason)


def _tell_of_no_matrix(part: Recover, layers: Mapping[str, str]) -> None:
    if not layers:
        return
    becomes = []
    if part.selector.moments:
        becomes.append("every candidate is run through them, as with reuse=False, which is slower and chooses the same")
    if part.compensate:
        becomes.append("they are not fitted")
    logger.warning(
        "%s of the groups (%s) are taken by grouped or transposed convolutions (%s), which are no matrix: %s",
        len(layers), some([repr(name) for name in layers]), some([repr(path) for path in layers.values()]),
        ", and ".join(becomes),
    )  # fmt: skip


def cuts(method: Method) -> bool:
    """Does it really remove units?"""
    return any(isinstance(part, Cut) for part in method.body.walk())


def check_cut(method: Method, view: EngineView, optimizer: torch.optim.Optimizer) -> None:
    """See that what a cut will exchange can be exchanged, as far as that can be told now.

    Raises:
        BadInput: a parameter that may shrink trains, and not by this optimizer: another one would go on with the old
            tensor.
        CannotFollow: it has a hook, or the optimizer or data parallelism holds it where it cannot be exchanged.
    """
    if not cuts(method):
        return
    check_wrapped(view.model)
    shrinking = _shrinking(method, view)
    held = _held(optimizer)
    left = [name for name, p in shrinking.items() if p.requires_grad and id(p) not in held]
    if left:
        raise BadInput(
            f"{method.name} cuts parameters that train and that the optimizer does not hold "
            f"({some([repr(name) for name in left])}): one that does would go on with the old ones, and nothing would "
            "train the new. Give all optimizers of the model, optimizer=[one, other], or freeze what none trains "
            "(requires_grad_(False))."
        )
    for name, p in shrinking.items():
        if is_hooked(p):
            raise CannotFollow(
                f"{method.name} cuts {name!r}, which has a hook on it that would stay with the old tensor. Register it "
                "when the run is finished, or on the module."
            )
    follower.check_own(optimizer, {id(p): name for name, p in shrinking.items()})


def _shrinking(method: Method, view: EngineView) -> dict[str, Tensor]:
    """The parameters that have members in a group from which units may go."""
    tensors = dict(bare(view.model).named_parameters(remove_duplicate=False))
    targets = [part.target for part in method.body.walk() if isinstance(part, (Choose, Recover, Sensitive, Spread))]
    names = sorted({name for target in targets for name in view.offered(target)})
    members = dict.fromkeys(member.name for name in names for member in view.known[name].members)
    return {name: tensors[name] for name in members if name in tensors}


def check_pressed(method: Method, view: EngineView, optimizer: torch.optim.Optimizer) -> None:
    """See that what will be pressed is trained: else it would never part from the others, and be cut as it is.

    Raises:
        BadInput: units (weights) are frozen. (Where they are only not in this optimizer, the log tells it: another one
            may move them.)
    """
    held = _held(optimizer)
    for target, of in _pressed(method):
        for name, makers in _offered(target, of, view).items():
            if makers and not any(p.requires_grad for p in makers.values()):
                raise BadInput(
                    f"{method.name} presses units while they train, and those of {name!r} do not (frozen: "
                    f"{', '.join(makers)}). Let them train, or leave them out: skip={name!r}"
                )
            still = [maker for maker, p in makers.items() if not p.requires_grad]
            if still:
                logger.warning(
                    "%s presses units of %r, and a part of what makes them is frozen (%s): it is not pressed, and is "
                    "cut as it is. Let it train, or leave the group out: skip=%r",
                    method.name, name, ", ".join(still), name,
                )  # fmt: skip
            if makers and not any(id(p) in held for p in makers.values()):
                logger.warning(
                    "%s presses units of %r, and the optimizer holds nothing that makes them (%s): unless another one "
                    "moves them, they are cut as they are",
                    method.name, name, ", ".join(makers),
                )  # fmt: skip


def check_penalties(method: Method, view: EngineView, optimizer: torch.optim.Optimizer) -> None:
    """See that a penalty on all weights reaches them: of those that do not train there is none.

    Raises:
        BadInput: it reaches none. (Where some are frozen, or not in this optimizer, the log tells it.)
    """
    tensors = dict(bare(view.model).named_parameters())
    held = _held(optimizer)
    for part in method.body.walk():
        if not isinstance(part, Regularize) or not part.factor:
            continue
        names = part.names(view)
        frozen = [name for name in names if not tensors[name].requires_grad]
        if names and len(frozen) == len(names):
            raise BadInput(
                f"{method.name} presses weights while they train, and none of the {counted(len(names), 'tensor')} does "
                f"(frozen: {some([repr(name) for name in names])}). Let them train, or take nk.methods.imp, which has "
                "no penalty"
            )
        if frozen:
            logger.warning(
                "%s presses weights while they train, and %d of %d tensors are frozen (%s): they lose their smallest "
                "weights as they are",
                method.name, len(frozen), len(names), some([repr(name) for name in frozen]),
            )  # fmt: skip
        outside = [name for name in names if name not in frozen and id(tensors[name]) not in held]
        if outside:
            lost = (
                "there is no proximal step for them" if part.proximal else "unless another one moves them, it is lost"
            )
            logger.warning(
                "%s presses %d of %d tensors that the optimizer does not hold (%s): %s",
                method.name, len(outside), len(names), some([repr(name) for name in outside]), lost,
            )  # fmt: skip


def _held(optimizer: torch.optim.Optimizer) -> set[int]:
    """The parameters that it moves, by their identity."""
    return {id(p) for group in optimizer.param_groups for p in group["params"]}


def check_closure(method: Method, optimizer: torch.optim.Optimizer) -> None:
    """See that penalties reach the optimizer.

    Raises:
        BadInput: it computes gradients anew in its own step, so that what was added to them is lost.
    """
    name = with_closure(optimizer)
    added = [p for p in method.body.walk() if isinstance(p, (Spread, Press, Hold)) or _adds_gradients(p)]
    if name and added:
        raise BadInput(
            f"{method.name} adds a penalty to the gradients ({type(added[0]).__name__}), and {name} computes them anew "
            "in its closure, so that it would be lost: train with an optimizer that steps by the gradients it finds"
        )


def _adds_gradients(part: Part) -> bool:
    return isinstance(part, Regularize) and not part.proximal and part.factor != 0


def _pressed(method: Method) -> Iterator[tuple[Target, Of]]:
    """What is pressed: the last choice before it, or what the part itself says."""
    choice: Choose | None = None
    for part in method.body.walk():
        if isinstance(part, Choose):
            choice = part
        elif isinstance(part, Spread):
            yield part.target, part.of
        elif isinstance(part, Press) and choice is not None:
            yield choice.target, choice.of


def _offered(target: Target, of: Of, view: EngineView) -> dict[str, dict[str, Tensor]]:
    """Of every group (tensor) that may be taken from, the parameters that make its units."""
    tensors = dict(bare(view.model).named_parameters())
    names = view.offered(target, of)
    made = {n: [n] if of == "weights" else [m.name for m in view.known[n].makers] for n in names}
    return {name: {maker: tensors[maker] for maker in makers if maker in tensors} for name, makers in made.items()}


def enough(method: Method, steps: int, setting: str) -> None:
    """Raise :class:`BadInput` if a trainer ends before the method does, for all that can be told before it begins.

    ``steps``: that it would make; 0 or less if it does not know. ``setting``: what to raise.
    """
    wanted = method.body.longest
    if 0 < steps < sum(method.rounds) and wanted is not None:
        raise BadInput(
            f"{method.name} takes {wanted} steps of the optimizer, and the Trainer would make {steps}: raise {setting}"
            ", or give the method fewer steps"
        )
