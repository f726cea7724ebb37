import { assert, describe, it } from "@effect/vitest"
import { ProcessManager } from "evsrc"
import { ProcessSpec, SpecFailed } from "evsrc/testing"
import { CancelOrder, fulfilment, OrderEvent, OutOfStock, ShipOrder } from "../process/Shop.ts"

const Fulfilment = fulfilment("fulfilment")
const orderId = "o1"
const placed = OrderEvent.cases.OrderPlaced.make({ orderId, isInStock: true })
const paid = OrderEvent.cases.OrderPaid.make({ orderId })
const shipped = OrderEvent.cases.OrderShipped.make({ orderId })
const ship = ProcessManager.send(ShipOrder, { orderId })

describe("ProcessSpec", () => {
  it("follows an order that is paid", () => {
    ProcessSpec.given(Fulfilment, [placed])
      .thenDeadlines({ PaymentDue: "15 minutes" })
      .thenSends([])
      .after("14 minutes")
      .thenDeadlines({ PaymentDue: "1 minute" })
      .when(paid)
      .thenEvents([{ _tag: "PaymentTaken" }])
      .thenSends([ship])
      .thenDeadlines({})
      .thenState("paid")
      .when(shipped)
      .thenStatus("completed")
      .when(paid)
      .thenIgnored("completed")
  })

  it("fires a deadline when it is due", () => {
    ProcessSpec.given(Fulfilment, [placed])
      .after("15 minutes")
      .thenSends([ProcessManager.send(CancelOrder, { orderId, reason: "not paid" })])
      .thenStatus("completed")
  })

  it("reacts to a rejected command, once", () => {
    const rejected = ProcessSpec.given(Fulfilment, [placed, paid]).whenRejected(ShipOrder, new OutOfStock({ orderId }))
    rejected.thenSends([ProcessManager.send(CancelOrder, { orderId, reason: "OutOfStock" })]).thenStatus("completed")
  })

  it("ignores an input that continues a process that does not exist", () => {
    ProcessSpec.given(Fulfilment).when(paid).thenIgnored("unstarted").thenStatus("unstarted")
  })

  it("fails when something else was expected", () => {
    const given = ProcessSpec.given(Fulfilment, [placed])
    assert.throws(() => given.thenSends([ship]), SpecFailed)
    assert.throws(() => given.thenDeadlines({}), SpecFailed)
    assert.throws(() => given.thenEvents([{ _tag: "PaymentTaken" }]), SpecFailed)
    assert.throws(() => given.thenState("paid"), SpecFailed)
    assert.throws(() => given.thenStatus("completed"), SpecFailed)
    assert.throws(() => given.thenIgnored("unstarted"), SpecFailed)
    assert.throws(() => given.whenRejected(ShipOrder, new OutOfStock({ orderId })), SpecFailed)
  })
})
