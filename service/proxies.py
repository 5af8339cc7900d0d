"""Which proxies are believed when they tell what they were asked: X-Forwarded-Prefix, X-Forwarded-Host."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from starlette.types import Scope


class Proxies:
    """By their addresses or networks. Who calls is decided by API keys, never by this."""

    def __init__(self, networks: Iterable[str]) -> None:
        self.networks: list[IPv4Network | IPv6Network] = [ip_network(one) for one in networks]

    def trust(self, scope: Scope) -> bool:
        """Whether the request comes from one of them."""
        client = scope.get("client")
        try:
            address = ip_address(client[0]) if client else None
        except ValueError:
            return False
        return address is not None and any(address in network for network in self.networks)
