local store = require("store")
