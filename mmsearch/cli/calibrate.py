"""``mmsearch calibrate``: relevance fitted on the collection's own captions."""

from __future__ import annotations

import click

from mmsearch.cli._app import OK, App, Command, pass_app
from mmsearch.cli._text import count


@click.command(cls=Command, short_help="Fit relevance on the collection's own captions.")
@pass_app
def command(app: App, /) -> int:
    """Fit relevance on the collection's own pictures and their texts (captions, descriptions), so that it is a probability here.

    Needs 100 pictures with a text of the same group. Run it again when the collection has become another one.

    \b
      mmsearch index photos --captions captions.jsonl
      mmsearch calibrate
      mmsearch query a red kite --cutoff auto
    """
    with app.open() as collection:
        made = collection.calibrate()
    words = "cosines and the collection's other texts" if made.lead else "cosines alone; the collection's other texts add nothing"
    app.say(f"fitted on {count(made.pairs, 'right hit')} by {words}; --cutoff auto is {made.cut:.3f}")
    return OK
