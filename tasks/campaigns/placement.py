"""Which host a variant is offered to first. A wish: "" means that any worker of the pool may take it."""

from collections.abc import Collection, Mapping, Sequence

from experiments.schema.base import content_id
from experiments.schema.variant import Variant

ANY = ""


def weights_id(variant: Variant) -> str:
    """Equal for variants that are made from the same weights, however they are quantized."""
    return content_id("weights", variant.model)


def placed(variants: Mapping[str, str], holders: Mapping[str, Collection[str]], hosts: Sequence[str]) -> dict[str, str]:
    """Variant → host. `variants` names the weights of each, `holders` the weights that each host has.

    Variants of the same weights go together: to a host that has them, else to the one with least to do. No host is
    given more than its share of all, so that none waits for another's weights; what is left over is for any."""
    if not hosts:
        return dict.fromkeys(variants, ANY)
    share = -(-len(variants) // len(hosts))
    load = dict.fromkeys(hosts, 0)
    found: dict[str, str] = {}
    for group in _groups(variants):
        host = _host_of(variants[group[0]], holders, load)
        room = share - load[host]
        found |= {variant: host if position < room else ANY for position, variant in enumerate(group)}
        load[host] += min(room, len(group))
    return found


def _groups(variants: Mapping[str, str]) -> list[list[str]]:
    """The largest first: small ones fit into what it leaves."""
    by_weights: dict[str, list[str]] = {}
    for variant, weights in variants.items():
        by_weights.setdefault(weights, []).append(variant)
    return sorted(by_weights.values(), key=len, reverse=True)


def _host_of(weights: str, holders: Mapping[str, Collection[str]], load: Mapping[str, int]) -> str:
    having = [host for host in load if weights in holders.get(host, ())]
    return min(having or load, key=lambda host: load[host])
