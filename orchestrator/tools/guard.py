"""Decide whether Cronium may send to a destination, by every address that its host has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.errors import DeniedError
from orchestrator.model.outbound import Address, OutboundRule
from orchestrator.tools.addresses import OWN, Special, forms, is_own_address, special, stands_for
from orchestrator.tools.destination import REFUSED, Destination


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """
    Public addresses may be sent to, others when `allow` names them, and nothing that `deny` names.

    A host with one refused address is refused as a whole: which address is used is chance and haste (IPv6 first, the
    next one after 250 ms), and a name that mixes its owner's addresses with ours is a mistake or an attack.
    """

    allow: Sequence[OutboundRule] = ()
    deny: Sequence[OutboundRule] = ()
    is_own: Callable[[Address], bool] = is_own_address

    def check_name(self, destination: Destination) -> None:
        """Before its host is looked up. Raises `DeniedError` (`outbound_refused`)."""
        if any(rule.names(destination.host, destination.port) for rule in self.deny):
            raise DeniedError(f"{destination} is refused: outbound_deny names it.", code=REFUSED)

    def allows_name(self, destination: Destination) -> bool:
        return any(rule.names(destination.host, destination.port) for rule in self.allow)

    def check(self, destination: Destination, addresses: Sequence[Address]) -> None:
        """Raises `DeniedError` (`outbound_refused`) that names host, address, reason and the setting that allows it."""
        self.check_name(destination)
        for address in addresses:
            if any(rule.holds(form, destination.port) for rule in self.deny for form in forms(address)):
                raise DeniedError(f"{_at(destination, address)} is refused: outbound_deny names it.", code=REFUSED)
        for address in addresses:
            self._check_address(destination, address)

    def _check_address(self, destination: Destination, address: Address) -> None:
        found = special(address) or (OWN if self.is_own(stands_for(address)) else None)
        if found is None or (found.by_name and self.allows_name(destination)):
            return
        meant = (address, stands_for(address))
        if not any(rule.holds(form, destination.port) for rule in self.allow for form in meant):
            raise _denied(destination, address, found)


def _denied(destination: Destination, address: Address, found: Special) -> DeniedError:
    entry = destination.host if destination.literal is None and found.by_name else str(stands_for(address))
    return DeniedError(
        f"{_at(destination, address)} is refused: it is {found.reason}. "
        f"`outbound_allow: {entry}` (CRONIUM_OUTBOUND_ALLOW) would allow it.",
        code=REFUSED,
    )


def _at(destination: Destination, address: Address) -> str:
    return str(destination) if destination.literal is not None else f"{destination} ({address})"
