"""What more than one notebook uses. Import the module that you need; nothing runs at import.

From top to bottom; a module imports only those below it:

    notebook                start and banner, which every notebook calls first
    models/                 what more than one notebook builds
        transformer         encoder and decoder block, positional embedding, KV cache
        seq2seq             teacher forcing, the GRU translator, translate
        pretrained          pretrained networks, whose weights are read as data
        evaluators          classifiers and regressors that measure generators
        latents             paths and directions in latent space
    decoding                greedy search, sampling, beam search
    callbacks               resume and time budget for a plain `fit`
    batching                batches bucketed by length
    results                 leaderboard, summary, cached images
    tracking                Weights & Biases, one run per training
    metrics/                text (BLEU, chrF), images (kernel distance), intervals
    datasets/               a loader per data set, the same type for real data and samples
    text                    standardization, vectorizers, detokenization
    synthetic/              generators of samples whose truth is known
    downloads               checksummed cache of downloads
    plots                   style, tables and the figures that notebooks share
    settings                profile, data mode, folders
    errors                  errors whose message is all that a reader needs
"""
