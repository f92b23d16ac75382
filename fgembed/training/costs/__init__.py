"""What a run costs, told before it begins: its encoder's speed, its minutes, what a budget buys."""
