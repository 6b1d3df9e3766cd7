from typing_extensions import disjoint_base

from wsproxy._fast.proxy.course import Course
from wsproxy._fast.proxy.engine import Engine

@disjoint_base
class Intake(Course):
    def __new__(cls, engine: Engine) -> Intake: ...
