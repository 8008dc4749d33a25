"""A pull request out of a session's response, over GitHub's REST API.

Every step first looks whether it was done before: commit, pull request and comments bear the session's mark.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

import msgspec
from github import Auth, Github, GithubException, InputGitTreeElement, UnknownObjectException
from github.GitRef import GitRef
from github.PullRequest import PullRequest as Pull
from github.Repository import Repository
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from hivewire import codec
from hivewire.commands.sessions import PullRequest
from hivewire.errors import HivewireError
from hivewire.tls import trouble
from hivewire_service.settings import Settings

FILES_MAX: Final = 300
TIMEOUT_S: Final = 30
MARK: Final = "<!-- hivewire session {} {} -->"
COMMIT_MARK: Final = "Hivewire-Session: {}"


class Files(msgspec.Struct):
    """The response that a pull request is made of."""

    files: dict[str, str]
    title: str | None = None
    body: str = ""
    message: str | None = None


async def open_pull_request(settings: Settings, action: PullRequest, session_id: str, response: bytes) -> None:
    """Commit the files of the response to a branch, open the pull request and comment on the issue.

    Raises:
        HivewireError: something of it failed; the issue is told so, once.
    """
    await asyncio.to_thread(_open_pull_request, settings, action, session_id, response)


@contextmanager
def _github(settings: Settings) -> Iterator[Github]:
    """GitHub, verified by the public CAs and those of the operator."""
    token = settings.github_token
    with NamedTemporaryFile(prefix="hivewire-", suffix=".pem") as trusted:
        if settings.outbound_ca:
            trusted.write(Path(DEFAULT_CA_BUNDLE_PATH).read_bytes() + b"\n" + settings.outbound_ca.read_bytes())
            trusted.flush()
        github = Github(
            auth=Auth.Token(token.get_secret_value()) if token else None,
            base_url=settings.github_url,
            timeout=TIMEOUT_S,
            retry=None,
            verify=trusted.name if settings.outbound_ca else True,
        )
        try:
            yield github
        finally:
            github.close()


def _open_pull_request(settings: Settings, action: PullRequest, session_id: str, response: bytes) -> None:
    try:
        with _github(settings) as github:
            repository = github.get_repo(action.repository)
            try:
                pull = _pull(repository, action, session_id, _files(response))
            except (HivewireError, GithubException) as error:
                text = f"No pull request was opened: {_reason(error)}"
                _comment_once(repository, action.issue, session_id, "failed", text)
                raise
            text = f"Pull request #{pull.number} is ready: {pull.html_url}"
            _comment_once(repository, action.issue, session_id, "done", text)
    except (GithubException, OSError) as error:  # the errors of requests are OSErrors
        raise HivewireError(_reason(error)) from error


def _files(response: bytes) -> Files:
    files = codec.decode_as(response, Files, "the response")
    if isinstance(files, codec.Malformed):
        raise HivewireError(f'{files.reason}: a pull request needs {{"files": {{path: text}}}}')
    if not files.files or len(files.files) > FILES_MAX:
        raise HivewireError(f"the response has {len(files.files)} files: 1 to {FILES_MAX} make a pull request")
    return files


def _pull(repository: Repository, action: PullRequest, session_id: str, files: Files) -> Pull:
    """The pull request of the session, which may have been opened already, and even merged."""
    branch = action.branch or f"hivewire/{session_id}"
    title = action.title or files.title or "Changes by an agent"
    mark = MARK.format(session_id, "pull")
    owner = action.repository.partition("/")[0]
    for known in repository.get_pulls(state="all", base=action.base, head=f"{owner}:{branch}"):
        if mark in (known.body or ""):
            return known
    _push(repository, action.base, branch, session_id, files.message or title, files.files)
    closing = f"\n\nCloses #{action.issue}" if action.issue else ""
    body = f"{files.body}{closing}\n\n{mark}"
    return repository.create_pull(base=action.base, head=branch, title=title, body=body)


def _push(repository: Repository, base: str, branch: str, session_id: str, message: str, texts: dict[str, str]) -> None:
    """One commit on a new branch; nothing if the branch holds it already."""
    mark = COMMIT_MARK.format(session_id)
    found = _ref(repository, branch)
    if found is not None:
        if mark in repository.get_git_commit(found.object.sha).message:
            return
        raise HivewireError(f"branch {branch} exists already")
    start = _ref(repository, base)
    if start is None:
        raise HivewireError(f"there is no branch {base}")
    parent = repository.get_git_commit(start.object.sha)
    entries = [InputGitTreeElement(path, "100644", "blob", content=text) for path, text in sorted(texts.items())]
    tree = repository.create_git_tree(entries, parent.tree)
    commit = repository.create_git_commit(f"{message}\n\n{mark}", tree, [parent])
    repository.create_git_ref(f"refs/heads/{branch}", commit.sha)


def _ref(repository: Repository, branch: str) -> GitRef | None:
    try:
        return repository.get_git_ref(f"heads/{branch}")
    except UnknownObjectException:
        return None


def _comment_once(repository: Repository, number: int | None, session_id: str, what: str, text: str) -> None:
    """Tell the issue, unless it was told before."""
    if number is None:
        return
    mark = MARK.format(session_id, what)
    issue = repository.get_issue(number)
    if not any(mark in (comment.body or "") for comment in issue.get_comments()):
        issue.create_comment(f"{text}\n\n{mark}")


def _reason(error: Exception) -> str:
    if isinstance(error, GithubException):
        return f"GitHub answered {error.status}: {error.message}"
    return trouble(error, ca="HIVEWIRE_OUTBOUND_CA") or str(error)
