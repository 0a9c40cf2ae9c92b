"""The chat template, our own text for the published format.

One conversation is a sequence of turns ``<|startoftext|>question<|extra_0|>answer<|eos|>``; a system prompt stands
inside the first turn, closed by ``<|extra_4|>``. No line breaks, no generation prompt: ``<|extra_0|>`` is where the
answer begins.
``{% generation %}`` marks what an assistant says, its end token included, for training on answers only.
"""

CHAT_TEMPLATE = """
{%- set state = namespace(head=false) -%}
{%- for message in messages -%}
{%- if message['role'] == 'system' -%}
{%- if not loop.first -%}
{{- raise_exception('only the first message can be a system message, message ' ~ loop.index ~ ' is one') -}}
{%- endif -%}
{%- if message['content'] -%}
{{- '<|startoftext|>' ~ message['content'] ~ '<|extra_4|>' -}}
{%- set state.head = true -%}
{%- endif -%}
{%- elif message['role'] == 'user' -%}
{{- ('' if state.head else '<|startoftext|>') ~ message['content'] ~ '<|extra_0|>' -}}
{%- set state.head = false -%}
{%- elif message['role'] == 'assistant' -%}
{%- generation -%}{{- message['content'] ~ '<|eos|>' -}}{%- endgeneration -%}
{%- else -%}
{{- raise_exception('message ' ~ loop.index ~ ' has role ' ~ message['role'] ~ ', not system, user or assistant') -}}
{%- endif -%}
{%- endfor -%}
""".strip()
