"""Arguments over all that each statement allows: other sizes, dtypes, thresholds and models than the checks draw.

`mechinterp certify` draws 1,000 of these to see whether a change to a solution that no check notices changes
anything at all. `<exercise>(draw)` returns the positional arguments of one call.
"""


def head_logit_attribution(draw):
    model = _model(draw)
    clean, _ = _texts(draw, model)
    return model, clean, *_words(draw, model, len(clean))


def patch_residual(draw):
    """The clean text ends with a word that came before, so that there is something to restore."""
    model = _model(draw, large=50)
    clean, corrupted = _texts(draw, model, least=5)
    clean[:, 1] = clean[:, -1]
    corrupted[:, 2:] = clean[:, 2:]
    _, wrong = _words(draw, model, len(clean))
    return model, clean, corrupted, clean[:, 2].clone(), wrong


def patch_head_input(draw):
    model = _model(draw)
    layer, head = draw.integer(0, model.cfg.n_layers - 1), draw.integer(0, model.cfg.n_heads - 1)
    return model, *_texts(draw, model), layer, head, draw.choice(["q", "k", "v", "pattern", "z"])


def path_logits(draw):
    model = draw.language_model("course-gpt2" if draw.integer(1, 5) == 1 else "course-attn-2l")
    layers, heads = model.cfg.n_layers, model.cfg.n_heads
    layer = draw.integer(0, layers - 2)
    receivers = {
        (draw.integer(layer + 1, layers - 1), draw.integer(0, heads - 1)) for _ in range(draw.integer(1, 4))
    }
    frozen = draw.choice([("heads", "mlps"), ("heads",), ("mlps",), ()])
    sender = (layer, draw.integer(0, heads - 1))
    return model, *_texts(draw, model), sender, sorted(receivers), draw.choice(["q", "k", "v"]), frozen


def composition_scores(draw):
    return _model(draw, large=50), draw.choice(["q", "k", "v", "k", "z"])


def _model(draw, large=10):
    """Mostly the model of two layers; one draw in `large` is of a deeper one."""
    deep = draw.integer(1, large) == 1
    return draw.language_model("course-gpt2" if deep else "course-attn-2l")


def _texts(draw, model, least=2):
    batch, pos, d_vocab = draw.integer(1, 3), draw.integer(least, 9), model.cfg.d_vocab
    return draw.tokens(batch, pos, d_vocab), draw.tokens(batch, pos, d_vocab)


def _words(draw, model, batch):
    return tuple(draw.tokens(1, batch, model.cfg.d_vocab)[0] for _ in range(2))
