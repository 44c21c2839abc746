"""Python API of SWCI's web mode: the operator's commands as methods.

    import swarmlearning.swci as sw

    s = sw.Swci("172.1.1.1", clientCert="swci-cert.pem", clientPKey="swci-key.pem",
                clientCABundle="ca.pem")
    s.createContext("test", ip="172.1.1.1")
    s.switchContext("test")
    print(s.listNodes())

Methods and commands are HPE's; what is ours says so.
"""

from collections.abc import Sequence

from swarmlearning import _swci_topology
from swarmlearning._swci_answer import CommandError, read_nodes
from swarmlearning._swci_tasks import TaskCommands

__all__ = ["Swci"]

DEFAULT_CONTRACT = "defaultbb.cqdb.sml.hpe"
_CONTEXTS, _CONTRACTS = "list contexts", "list contracts"


class Swci(TaskCommands):
    """A SWCI in web mode.

    Most methods answer the lines that SWCI printed, or ``[]`` where the command failed; then
    :meth:`getErrors` says why. Methods marked as cached ask SWCI once; :meth:`clearCache` forgets.
    It may be used as a context manager (ours), which closes connections and log file.

    Args:
        swciIp: host name or address of SWCI.
        port: of its web mode.
        clientCert: PEM file of a certificate with role SWCI. Without one the client speaks plain
            HTTP, which SWCI does only with ``SWCI_WEB_INSECURE=true``.
        clientPKey: PEM file of its private key; not needed where ``clientCert`` holds it too.
        clientCABundle: PEM file (or folder of them) of the CAs that may have signed the server's
            certificate. Without one it is not checked, and a warning says so.
        logger: takes the log lines; by default console and ``swci-web.log``.
        logLv: level of the default logger.
        enableCaching: whether methods marked as cached keep their answers.

    Raises:
        RuntimeError: an argument is wrong, or a certificate file cannot be used.
    """

    # --- SWCI's folder, and time

    def ls(self, optStr: str = "") -> list[str]:
        """Files in SWCI's current folder; ``optStr`` are options of ``ls``, e.g. ``-l``."""
        return self._run(f"ls {optStr}" if optStr else "ls")

    def pwd(self) -> list[str]:
        """SWCI's current folder."""
        return self._run("pwd")

    def cd(self, dirPath: str) -> list[str]:
        """Change SWCI's current folder; it is the same for all its clients."""
        return self._run(f"cd {dirPath}")

    def sleep(self, sec: float) -> list[str]:
        """Let SWCI wait some seconds before it answers."""
        return self._run(f"sleep {sec}", answer_s=None)

    # --- contexts

    def createContext(
        self, name: str, ip: str | None = None, port: int = 30304, service: str | None = None
    ) -> list[str]:
        """Create a context: a name for an SN's API server.

        Args:
            name: of the context.
            ip: of the SN.
            port: of its API.
            service: ``fqdn[:port]`` of the SN, instead of ``ip`` and ``port``.

        Raises:
            RuntimeError: neither ``ip`` nor ``service`` is given.
        """
        if ip is None and service is None:
            raise RuntimeError("createContext needs ip or service!")
        self._forget(_CONTEXTS, f"get context info {name}")
        where = f"ip {ip} {port}" if ip is not None else f"service {service}"
        return self._run(f"create context {name} with {where}")

    def switchContext(self, name: str) -> list[str]:
        """Make a context the active one; what was cached belongs to the old one and is dropped."""
        self.clearCache()
        return self._run(f"switch context {name}")

    def getContextInfo(self, name: str) -> list[str]:
        """What a context names; cached."""
        return self._kept(f"get context info {name}")

    def listContexts(self) -> list[str]:
        """All contexts of this SWCI; cached until :meth:`createContext`."""
        return self._kept(_CONTEXTS)

    # --- training contracts

    def createTrainingContract(self, contractName: str) -> list[str]:
        """Create a training contract; it cannot be deleted."""
        self._forget(_CONTRACTS)
        return self._run(f"create contract {contractName}")

    def getTrainingContractInfo(self, contractName: str) -> list[str]:
        """What never changes about a training contract; cached."""
        return self._kept(f"get contract info {contractName}")

    def getTrainingContractStatus(self, contractName: str) -> list[str]:
        """State, round and peers of a training."""
        return self._run(f"get contract status {contractName}")

    def getTrainingContractPerformanceData(self, contractName: str) -> list[str]:
        """Loss, metric and epochs of each peer of a training."""
        return self._run(f"perfdata {contractName}")

    def listTrainingContracts(self) -> list[str]:
        """All training contracts; cached."""
        return self._kept(_CONTRACTS)

    def resetTrainingContract(self, contractName: str = DEFAULT_CONTRACT) -> list[str]:
        """Bring a finished training back to its start."""
        return self._run(f"reset contract {contractName}")

    # --- nodes

    def listNodes(self) -> list[str]:
        """A header, and a line of comma separated values for each SN, SL and SWOP node."""
        return self._run("list Nodes")

    def getNodes(self) -> list[dict[str, str]]:
        """Ours: :meth:`listNodes` with names.

        Returns:
            For each node ``NodeType``, ``HostIP``, ``Port``, ``ContainerName``, ``UUID``,
            ``ParentUUID`` and ``i-am-alive``.
        """
        try:
            return read_nodes(self.listNodes())
        except CommandError as exc:
            self._failed(str(exc))
            return []

    def plotTopology(
        self,
        SNColour: str = "gold",
        SWOPColor: str = "lightgreen",
        SLColor: str = "lightblue",
        attrs: Sequence[str] = (),
    ) -> None:
        """Draw the nodes and who belongs to whom into matplotlib's current figure.

        Args:
            SNColour: of SNs; any colour that matplotlib knows.
            SWOPColor: of SWOPs.
            SLColor: of SLs.
            attrs: what to show besides type and container name; see :meth:`getNodes`.

        Raises:
            RuntimeError: the nodes cannot be listed, an attribute does not exist, or networkx and
                matplotlib are missing (``pip install 'swarmlearning[swci]'``).
        """
        _swci_topology.check_columns(attrs)
        nodes = self.getNodes()
        if self._error is not None:
            raise RuntimeError(self._error)
        colours = {"SN": SNColour, "SWOP": SWOPColor, "SL": SLColor}
        _swci_topology.plot(nodes, colours, attrs)
