"""t5g-serve: a model behind OpenAI's HTTP interface. Everything that runs at the same time shares one batch.

From the ground up: `errors`, `settings` and `metrics`; `engine`, the threads that compute; `bodies` and `events`, how
requests come and answers go; `completions`, `embeddings`, `sources`, `tokens`: the endpoints; `gate`, what all requests
pass; `app` puts them together, and t5g.cli.serve runs it. It needs the extra ``server``: starlette and uvicorn.
"""
