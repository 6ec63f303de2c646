//! The rows that the ledgers of SQLite and PostgreSQL read or write in the same way.

/// Defines, for both ledgers, the methods of `Ledger` that run their statements immediately. `$sql`
/// runs the statements. A file that uses this macro must import the types that the macro names.
macro_rules! shared_rows {
    ($self:ident, $dialect:ident, $sql:expr) => {
        fn on_sale(&mut $self, item: ItemId) -> Done<bool> {
            let found = $sql.first(queries::ON_SALE.$dialect, &values![item], |row| row.get(0))?;
            Ok(found.unwrap_or(false))
        }

        fn has_ended(&mut $self, item: ItemId) -> Done<bool> {
            let found = $sql.first(queries::HAS_ENDED.$dialect, &values![item], |row| row.get(0))?;
            Ok(found.unwrap_or(false))
        }

        fn orders_of_buyer(&mut $self, buyer: &BuyerId, item: ItemId) -> Done<Vec<Order>> {
            let text = queries::ORDERS_OF_BUYER.$dialect;
            let mut orders = $sql.query(text, &values![buyer, item], rows::order)?;
            orders.sort_unstable_by_key(|order| order.id);
            Ok(orders)
        }

        fn first_unpaid(
            &mut $self,
            grant: GrantId,
            buyer: &BuyerId,
            by: Option<&Actor>,
        ) -> Done<Option<Order>> {
            let values = values![buyer, grant, by.map(actor_text)];
            $sql.first(queries::FIRST_UNPAID.$dialect, &values, rows::order)
        }

        fn reversal(&mut $self, key: &ReversalKey) -> Done<Option<Reversal>> {
            let ReversalKey { payment, kind, dispute } = key;
            match kind {
                ReversalKind::Returned => {
                    let text = queries::RETURNED.$dialect;
                    $sql.first(text, &values![&payment.0], money::reversal)
                }
                ReversalKind::Disputed => {
                    let text = queries::DISPUTED.$dialect;
                    $sql.first(text, &values![&payment.0, dispute], money::reversal)
                }
            }
        }

        fn put_reversal(&mut $self, reversal: &Reversal) -> Done<()> {
            let Reversal { key: ReversalKey { payment, kind, dispute }, .. } = reversal;
            let Reversal { money: Money { minor, currency }, stands, reported_at, at, .. } =
                reversal;
            match kind {
                ReversalKind::Returned => {
                    let values = values![&payment.0, *minor, currency, *stands, *at];
                    $sql.execute(queries::PUT_RETURNED.$dialect, &values)?
                }
                ReversalKind::Disputed => {
                    let values =
                        values![&payment.0, dispute, *minor, currency, *stands, *reported_at, *at];
                    $sql.execute(queries::PUT_DISPUTED.$dialect, &values)?
                }
            };
            Ok(())
        }

        fn price(&mut $self, item: ItemId) -> Done<Option<Money>> {
            $sql.first(queries::PRICE.$dialect, &values![item], |row| {
                Ok(Money { minor: row.get(0)?, currency: row.get(1)? })
            })
        }
    };
}
pub(crate) use shared_rows;
