if cache:info().consistency == store.consistency.LINEARIZABLE then
    -- safe to use compare-and-set
end
