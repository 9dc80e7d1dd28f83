"""Trials in the files of other tools: reports of GuideLLM and results of `vllm bench serve`, read and written."""
