"""The one exception for mistakes that a user can mend. Anything else that is raised is a defect of ours."""


class UserError(Exception):
    """A mistake in the input or the environment. Its text is one sentence: what is wrong, where, what to do."""
