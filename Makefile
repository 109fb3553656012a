# For those whose fingers say `make`: every target is a target of ./do.
.PHONY: demo setup test fuzz soak docs lint format types bench requirements
demo setup test fuzz soak docs lint format types bench requirements:
	@./do $@
