"""`flipbook data plan`: the fate of every clip, before any training."""

from flipbook.data.plan.build import Plan, PlanSource, make_plan, sources_of_recipe
from flipbook.data.plan.facts import summary

__all__ = ["Plan", "PlanSource", "make_plan", "sources_of_recipe", "summary"]
