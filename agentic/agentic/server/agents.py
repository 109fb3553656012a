"""Agents that clients configured, and their sessions. Both are kept in the store and survive a restart."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from ..agent import Agent
from ..history import History
from ..protocols import Delta, Inference, MemoryBank, Prepared
from ..session import Session
from ..store import Store
from ..store.documents import Document, Documents
from ..types.errors import InvalidInput, NotFound
from ..types.sampling import InferenceRequest
from ..types.turns import Limits, Turn
from .banks import Banks
from .llama_stack.schemas import AgentConfig, AgentTool, JsonSchemaFormat, ToolConfig, ToolgroupWithArgs
from .models import Models
from .shields import Shields
from .toolgroups import Shared, Toolgroups

KIND = "agent"
MEMORY = "builtin::memory"
"""The toolgroup that is no tool: its banks are searched before the first inference, as memory was before 0.1."""

KEPT = 128
"""How many agents and sessions are kept ready."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A live session.

    Attributes:
        session: The session.
        tools: Whether its model is offered tools.
        own: Whether it has what its agent has, and nothing of one turn's own.
    """

    session: Session
    tools: bool
    own: bool


class Agents:
    """Agents and their sessions.

    Args:
        store: Sessions' logs.
        documents: Agents' configurations and sessions' names.
        models: What agents think with.
        toolgroups: What they call.
        shields: What looks at them.
        banks: What they look things up in.
    """

    def __init__(
        self,
        store: Store,
        documents: Documents,
        *,
        models: Models,
        toolgroups: Toolgroups,
        shields: Shields,
        banks: Banks,
    ) -> None:
        self._store = store
        self._documents = documents
        self._models = models
        self._toolgroups = toolgroups
        self._shields = shields
        self._banks = banks
        self._agents: OrderedDict[str, Agent] = OrderedDict()
        self._sessions: OrderedDict[str, Opened] = OrderedDict()
        self._histories: OrderedDict[str, History] = OrderedDict()

    # -- agents -------------------------------------------------------------------------------------------------------

    async def create(self, config: AgentConfig) -> str:
        """Keeps an agent's configuration and returns its id. What it names is looked up at its first turn."""
        agent_id = str(uuid.uuid4())
        await self._documents.put(KIND, agent_id, config.model_dump(mode="json"))
        return agent_id

    async def get(self, agent_id: str) -> Document:
        """An agent's configuration.

        Raises:
            NotFound: There is no such agent.
        """
        if (found := await self._documents.get(KIND, agent_id)) is None:
            raise NotFound(f"Could not find agent info for {agent_id}.", hint="POST /v1/agents makes an agent.")
        return found

    async def all(self) -> list[Document]:
        """All agents, the oldest first."""
        return await self._documents.all(KIND)

    async def delete(self, agent_id: str) -> None:
        """Removes an agent and its sessions.

        Raises:
            NotFound: There is no such agent.
            SessionBusy: A turn runs in one of its sessions.
        """
        await self.get(agent_id)
        for session in await self.sessions(agent_id):
            await self.delete_session(agent_id, session.name)
        await self._documents.remove(KIND, agent_id)
        self._agents.pop(agent_id, None)

    # -- sessions -----------------------------------------------------------------------------------------------------

    async def new_session(self, agent_id: str, name: str) -> str:
        """Makes a session and returns its id.

        Raises:
            NotFound: There is no such agent.
        """
        await self.get(agent_id)
        session_id = str(uuid.uuid4())
        await self._documents.put(_sessions_of(agent_id), session_id, {"session_name": name})
        return session_id

    async def session(self, agent_id: str, session_id: str) -> Document:
        """A session's name and time.

        Raises:
            NotFound: There is no such agent, or it has no such session.
        """
        await self.get(agent_id)
        if (found := await self._documents.get(_sessions_of(agent_id), session_id)) is None:
            raise NotFound(
                f"Session {session_id} not found.", hint=f"POST /v1/agents/{agent_id}/session makes a session."
            )
        return found

    async def sessions(self, agent_id: str) -> list[Document]:
        """An agent's sessions, the oldest first.

        Raises:
            NotFound: There is no such agent.
        """
        await self.get(agent_id)
        return await self._documents.all(_sessions_of(agent_id))

    async def delete_session(self, agent_id: str, session_id: str) -> None:
        """Removes a session and its log.

        Raises:
            NotFound: There is no such session.
            SessionBusy: A turn runs in it.
        """
        await self.session(agent_id, session_id)
        with suppress(NotFound):  # no turn was ever run in it
            await self._store.delete(session_id)
        await self._documents.remove(_sessions_of(agent_id), session_id)
        self._sessions.pop(session_id, None)
        self._histories.pop(session_id, None)

    async def turns(self, agent_id: str, session_id: str) -> tuple[Turn, ...]:
        """A session's turns as its log has them, a running one too.

        Raises:
            NotFound: There is no such session.
        """
        await self.session(agent_id, session_id)
        history = self._histories.get(session_id) or History(session_id)
        _keep(self._histories, session_id, history)
        try:
            while True:  # what is new since the last look, so that a long session costs no more than a short one
                known = history.records
                records = await self._store.read(session_id, after=known)
                if history.records == known:  # else another request was here meanwhile
                    history.load(records)
                    return history.turns
        except BaseException as error:
            self._histories.pop(session_id, None)
            if isinstance(error, NotFound):
                return ()  # no turn was ever run in it
            raise

    async def open(
        self,
        agent_id: str,
        session_id: str,
        toolgroups: Sequence[AgentTool] | None = None,
        tool_config: ToolConfig | None = None,
        *,
        again: bool = False,
    ) -> Opened:
        """The live session, for a turn.

        Args:
            agent_id: Whose.
            session_id: Which.
            toolgroups: Instead of the agent's, for this turn and its resumption.
            tool_config: Likewise.
            again: The last turn is taken up, with the tools that it had.

        Raises:
            NotFound: There is no such session, or the agent names something that there is not.
            ConfigError: Something that the agent names cannot be opened.
        """
        await self.session(agent_id, session_id)
        changes = {"toolgroups": toolgroups, "tool_config": tool_config}
        given = {name: value for name, value in changes.items() if value is not None}
        opened = self._sessions.get(session_id)
        if opened is None or given or not (again or opened.own):
            if given:
                config = AgentConfig.model_validate((await self.get(agent_id)).body)
                agent = await self._build(agent_id, config.model_copy(update=given))
            else:
                agent = await self.agent(agent_id)
            opened = Opened(agent.session(session_id), bool(agent.describe()["tools"]), not given)
        _keep(self._sessions, session_id, opened)
        return opened

    async def agent(self, agent_id: str) -> Agent:
        """The engine's agent behind an id, built once.

        Raises:
            NotFound: There is no such agent, or it names something that there is not.
            ConfigError: Something that it names cannot be opened.
        """
        if agent_id not in self._agents:
            config = AgentConfig.model_validate((await self.get(agent_id)).body)
            _keep(self._agents, agent_id, await self._build(agent_id, config))
        return self._agents[agent_id]

    def forget(self) -> None:
        """Builds agents anew from here on: something that they name was added or removed."""
        self._agents.clear()
        self._sessions.clear()

    async def _build(self, agent_id: str, config: AgentConfig) -> Agent:
        inference = await self._models.inference(config.model)
        if config.response_format is not None:
            if not isinstance(config.response_format, JsonSchemaFormat):
                raise InvalidInput("response_format is a JSON schema here; grammars are not taken.")
            inference = Formatted(inference, config.response_format.json_schema)
        groups, memory = await self._tools(config.toolgroups or ())
        choice = (config.tool_config and config.tool_config.tool_choice) or config.tool_choice or "auto"
        client_tools = [tool.engine() for tool in config.client_tools or ()]
        if not groups and not client_tools and choice == "required":
            choice = "auto"  # there is nothing that could be required
        return Agent(
            inference,
            instructions=config.instructions,
            tools=[*groups, *client_tools],
            tool_choice=choice,
            memory=memory,
            **await self._shields.for_agent(
                config.input_shields or (), config.output_shields or (), client_tools=bool(client_tools)
            ),
            sampling=config.sampling_params.engine(),
            limits=Limits(max_infer_iters=config.max_infer_iters or 10),
            context_tokens=self._models.context_tokens(config.model),
            store=self._store,
            name=config.name or agent_id,
        )

    async def _tools(self, listed: Sequence[AgentTool]) -> tuple[list[Shared], list[MemoryBank]]:
        groups: dict[str, Shared] = {}
        memory: list[MemoryBank] = []
        for item in listed:
            name, args = (item.name, item.args) if isinstance(item, ToolgroupWithArgs) else (item, {})
            if name.partition("/")[0] == MEMORY:
                memory += [await self._banks.bank(bank_id) for bank_id in bank_ids(args)]
            else:
                groups[name] = await self._toolgroups.for_agent(name, args)
        return list(groups.values()), memory


class Formatted:
    """A model whose answers satisfy a JSON schema.

    Args:
        inference: The model.
        schema: The schema.
    """

    def __init__(self, inference: Inference, schema: Mapping[str, Any]) -> None:
        self._inference = inference
        self._schema = schema

    @property
    def model(self) -> str:
        """See `Inference`."""
        return self._inference.model

    async def prepare(self, request: InferenceRequest) -> Prepared:
        """See `Inference`."""
        return await self._inference.prepare(replace(request, response_format=self._schema))

    def generate(self, prepared: Prepared) -> AsyncIterator[Delta]:
        """See `Inference`."""
        return self._inference.generate(prepared)

    async def aclose(self) -> None:
        """Leaves the model open: others use it, too."""


def bank_ids(args: Mapping[str, Any]) -> list[str]:
    """The banks that a toolgroup's arguments name.

    Raises:
        InvalidInput: They name none, or it is no list of ids.
    """
    found = args.get("vector_db_ids") or args.get("memory_bank_ids") or ()
    if not found or isinstance(found, str) or not all(isinstance(name, str) for name in found):
        raise InvalidInput('The tool group needs args such as {"vector_db_ids": ["my-documents"]}.')
    return list(found)


def _sessions_of(agent_id: str) -> str:
    return f"session:{agent_id}"


def _keep(kept: OrderedDict[str, Any], name: str, value: Any) -> None:
    kept[name] = value
    kept.move_to_end(name)
    while len(kept) > KEPT:
        kept.popitem(last=False)
