"""The one exception for mistakes that a user can mend. Anything else that is raised is a defect of ours."""


class UserError(Exception):
    """A mistake in the input or the environment. Its text is one sentence: what is wrong, where, what to do."""


def as_clause(sentence: str) -> str:
    """Another package's sentence as a part of one of ours: without its capital letter and its full stop."""
    return sentence[:1].lower() + sentence[1:].rstrip(".")
