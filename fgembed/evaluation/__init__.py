"""How good an encoder is: metrics, floors, the floor table, the guard."""
