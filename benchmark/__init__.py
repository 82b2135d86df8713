"""Who decides better? Protocol, statistics, routing metrics, reports and plots.

Definitions, with the sources that they follow:

best single adapter
    The adapter with the highest mean reward on the *train* split, used for every query. It is
    chosen once per reward, so that it never sees the split on which it is judged.
oracle
    The highest reward of any adapter on each query of the judged split, averaged: an upper bound
    that no policy sees. Over single greedy answers it is inflated by lucky answers.
gap closed
    (V - best single) / (oracle - best single); 0 is the best single adapter, 1 the oracle. It is
    the complement of Gap@O (LLMRouterBench) on the scale of RouteLLM's performance gap recovered
    (Ong et al. 2024), with the strongest fixed arm in the place of the weak one.
regret
    Oracle reward minus the chosen adapter's reward, per query.
tie-set accuracy ("routing accuracy")
    Share of queries on which the chosen adapter is among those of the highest verified accuracy.
    "differ" counts only queries on which the adapters' accuracies differ, "all" counts every
    query; on a query that all adapters solve, or all miss, any choice is right.
arm-usage entropy
    -sum p ln p over the shares p of queries that each adapter receives, in nats, and divided by
    ln K; 0 means a policy that has collapsed onto one adapter.
reward gap
    Mean self-evaluated reward minus mean verified accuracy of the chosen answers: by how much the
    self-evaluator praises them beyond what the verifiers confirm (Goodhart's gap; Gao et al. 2023
    call the two the proxy and the gold reward).
quality
    Mean over the self-evaluator's metrics, costs left out, each oriented so that 1 is best.
paired bootstrap interval
    Percentile interval (Efron & Tibshirani 1993, ch. 13) over seeds and queries resampled
    independently of each other (the two-way bootstrap of Owen 2007); both sides of a comparison
    see the same resamples.
IQM and stratified bootstrap
    The mean of the middle half of the runs, with runs resampled and queries resampled within
    their task (Agarwal et al. 2021, "Deep RL at the edge of the statistical precipice").
Wilson interval
    Score interval of a proportion (Wilson 1927); Jeffreys' is the Bayesian one with the prior
    Beta(1/2, 1/2) (Brown, Cai & DasGupta 2001).
"""
