"""Fair turns: machines one after another, then the connections of each, then each connection's calls as they came."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from vcfrag_indexd.service.call import Client

T = TypeVar("T")


class FairQueue(Generic[T]):
    """A queue in which no client waits for all that another has sent. Not safe in threads by itself.

    Args:
        newcomers_first: Whether a client of whom nothing waits is next, and not last. For work that an honest client is
            done with at once, so that those wait who have much there already.
    """

    def __init__(self, *, newcomers_first: bool = False) -> None:
        self._newcomers_first = newcomers_first
        self._hosts: OrderedDict[str, OrderedDict[str, deque[T]]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        """Everything that waits, in no particular order."""
        for connections in self._hosts.values():
            for waiting in connections.values():
                yield from waiting

    def push(self, client: Client, item: T) -> None:
        """Adds what a client sent."""
        connections = self._hosts.setdefault(client.host, OrderedDict())
        waiting = connections.setdefault(client.connection, deque())
        if self._newcomers_first and not waiting:
            connections.move_to_end(client.connection, last=False)
            if len(connections) == 1:
                self._hosts.move_to_end(client.host, last=False)
        waiting.append(item)
        self._length += 1

    def peek(self) -> T | None:
        """What is next; None where nothing waits."""
        return next((waiting[0] for connections in self._hosts.values() for waiting in connections.values()), None)

    def pop(self) -> T:
        """Takes what is next.

        Raises:
            IndexError: Nothing waits.
        """
        if not self._hosts:
            raise IndexError("nothing waits")
        host, connections = next(iter(self._hosts.items()))
        connection, waiting = next(iter(connections.items()))
        item = waiting.popleft()
        self._length -= 1
        _turn(connections, connection, bool(waiting))
        _turn(self._hosts, host, bool(connections))
        return item

    def give_way(self, client: Client) -> T | None:
        """Takes out the youngest item of whoever has most waiting, if that is more than `client` has; None if not."""
        mine = self._hosts.get(client.host, OrderedDict())
        by_host = {host: sum(map(len, connections.values())) for host, connections in self._hosts.items()}
        host = max(by_host, key=by_host.__getitem__, default=client.host)
        if host == client.host or by_host[host] <= by_host.get(client.host, 0):
            host = client.host
        connections = self._hosts.get(host, OrderedDict())
        connection = max(connections, key=lambda name: len(connections[name]), default=client.connection)
        if host == client.host and len(connections.get(connection, ())) <= len(mine.get(client.connection, ())):
            return None
        item = connections[connection][-1]
        self.discard(Client(host, connection), item)
        return item

    def discard(self, client: Client, item: T) -> bool:
        """Takes one item out; whether it waited."""
        connections = self._hosts.get(client.host, OrderedDict())
        waiting = connections.get(client.connection, deque())
        if item not in waiting:
            return False
        waiting.remove(item)
        self._length -= 1
        if not waiting:
            del connections[client.connection]
        if not connections:
            del self._hosts[client.host]
        return True


def _turn(clients: OrderedDict[str, T], name: str, has_more: bool) -> None:
    """Sends one to the end of the row, or away."""
    if has_more:
        clients.move_to_end(name)
    else:
        del clients[name]
