"""The nouns: axis, member, group, selection, plan. Frozen values that know nothing of how they came to be."""

from niwaki.units.axis import Axis, Member, Role
from niwaki.units.group import Entries, Group, Parts
from niwaki.units.plan import Choice, Plan, Selection

__all__ = ["Axis", "Choice", "Entries", "Group", "Member", "Parts", "Plan", "Role", "Selection"]
