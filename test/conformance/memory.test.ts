import { EventStore } from "evsrc"
import { chained, everySuite, hashChain, memory } from "./backEnds.ts"

everySuite("memory", memory)
chained("memory", EventStore.layerMemoryWith(hashChain))
